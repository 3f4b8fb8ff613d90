-- Estimated energy in kWh of GPU-hours without measured energy: 0.7 kW for a GPU and its share of the node, as the Open LLM
-- Leaderboard used 5.6 kW for 8 H100. Null without GPU-hours: the energy of a CPU is unknown. Parameter: $gpu_hours.
select nullif($gpu_hours, 0) * 0.7
