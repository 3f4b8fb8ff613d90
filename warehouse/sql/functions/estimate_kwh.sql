-- Energy in kWh of GPU-hours where nothing is metered: 0.7 kW for a GPU and its part of the node, the 5.6 kW that the Open LLM
-- Leaderboard took for 8 H100. None for no GPU-hours: what a CPU took is not known. Parameter: $gpu_hours.
select nullif($gpu_hours, 0) * 0.7
