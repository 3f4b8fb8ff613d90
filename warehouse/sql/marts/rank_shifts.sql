-- One row per model that leaderboard-v1 and leaderboard-v2 both rank: who was tuned to the old benchmarks.
with
shifts as (
    select * from main.shifts_between('leaderboard-v1', 'leaderboard-v2')
)

select * from shifts
