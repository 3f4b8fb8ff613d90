-- One row per model that is ranked in leaderboard-v1 and leaderboard-v2: its place in each, among these models.
with
shifts as (
    select
        model_id,
        rank_a,
        rank_b,
        average_a,
        average_b,
        shift
    from main.rank_shifts
    order by abs(shift) desc, model_id
)

select * from shifts
