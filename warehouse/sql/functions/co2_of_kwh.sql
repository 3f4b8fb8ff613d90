-- CO2 in kg of energy in kWh, at the grid intensity that the Open LLM Leaderboard took: 269.8 g/kWh.
-- Parameter: $energy_kwh.
select $energy_kwh * 0.2698
