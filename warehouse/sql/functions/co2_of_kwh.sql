-- CO2 in kg of energy in kWh, at the grid intensity used by the Open LLM Leaderboard: 269.8 g/kWh.
-- Parameter: $energy_kwh.
select $energy_kwh * 0.2698
