-- One row per model that is ranked in both leaderboard-v1 and leaderboard-v2: shows tuning to the old benchmarks.
with
shifts as (
    select * from main.shifts_between('leaderboard-v1', 'leaderboard-v2')
)

select * from shifts
