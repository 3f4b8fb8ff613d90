-- One row per model that is ranked in leaderboard-v1 and leaderboard-v2: its place in each, among these; most changed first.
-- Parameters: $models and $sources (as in top_models).
with
old as (
    select distinct model_id
    from main.top_models('leaderboard-v1', n := null, models := $models, sources := $sources)
),

new as (
    select distinct model_id
    from main.top_models('leaderboard-v2', n := null, models := $models, sources := $sources)
),

placed as (
    select
        shifts.model_id,
        shifts.average_a,
        shifts.average_b,
        row_number() over (order by shifts.rank_a) as rank_a,
        row_number() over (order by shifts.rank_b) as rank_b
    from main.rank_shifts as shifts
    inner join old on shifts.model_id = old.model_id
    inner join new on shifts.model_id = new.model_id
    order by abs(rank_a - rank_b) desc, shifts.model_id
)

select * from placed
