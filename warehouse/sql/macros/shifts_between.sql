-- One row per model that is ranked in the current eras of both suites: its rank among these models in each, from its best row,
-- and the places it lost. Models with identical weights share both evaluations; only one of them is shown.
-- Parameters: $suite_a, $suite_b.
with
best_rows as (
    select *
    from main.leaderboard
    where is_current_era
    qualify row_number() over (partition by suite, model_id order by rank) = 1
),

paired as (
    select
        a.model_id,
        a.organization,
        coalesce(b.params_b, a.params_b) as params_b,
        a.average as average_a,
        b.average as average_b,
        a.rank as full_rank_a,
        b.rank as full_rank_b
    from best_rows as a
    inner join best_rows as b on a.model_id = b.model_id
    where a.suite = $suite_a and b.suite = $suite_b
    qualify row_number() over (partition by a.evaluation_id, b.evaluation_id order by a.rank + b.rank, a.model_id) = 1
),

placed as (
    select
        *,
        row_number() over (order by full_rank_a) as rank_a,
        row_number() over (order by full_rank_b) as rank_b
    from paired
),

shifts as (
    select
        *,
        rank_b - rank_a as shift
    from placed
    order by shift desc, model_id asc
)

select * from shifts
