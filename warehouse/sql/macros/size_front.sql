-- One row per model on the Pareto front of size and score, smallest first: no other model is at most as large and at least as
-- good. Of equal models, the one that ranks first is shown. Models of unknown size are skipped.
-- Parameters: $suite, $era, $as_of.
with
models as (
    select *
    from main.top_models($suite, n := null, era := $era, as_of := $as_of)
    where params_b is not null
),

compared as (
    select
        *,
        max(average) over (
            order by params_b, rank rows between unbounded preceding and 1 preceding
        ) as best_of_smaller
    from models
),

front as (
    select *
    from compared
    where coalesce(average > best_of_smaller, true)
    order by params_b
)

select * from front
