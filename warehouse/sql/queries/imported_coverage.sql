-- One row per suite: how many evaluations in $evaluation_ids belong to it, and how many of these have all its benchmarks.
with
coverage as (
    select * from main.coverage
    where list_contains($evaluation_ids, evaluation_id)
),

evaluations as (
    select
        suite,
        evaluation_id,
        bool_and(is_complete) as is_complete
    from coverage
    group by suite, evaluation_id
),

counted as (
    select
        suite,
        count(*) as n_evaluations,
        count(*) filter (where is_complete) as n_complete
    from evaluations
    group by suite
    order by n_evaluations desc, suite asc
)

select * from counted
