-- One row per suite: how many evaluations in $evaluation_ids belong to it, how many of these have all its benchmarks, and of
-- these, how many are not ranked because of their settings, and how many are rows of the ranking.
with
coverage as (
    select * from main.coverage
    where list_contains($evaluation_ids, evaluation_id)
),

evaluations as (
    select
        evaluation_id,
        not_ranked
    from main.evaluations
),

ranked as (
    select distinct evaluation_id from main.leaderboard
),

complete as (
    select
        suite,
        evaluation_id,
        bool_and(is_complete) as is_complete
    from coverage
    group by suite, evaluation_id
),

counted as (
    select
        complete.suite,
        count(*) as n_evaluations,
        count(*) filter (where complete.is_complete) as n_complete,
        count(*) filter (where complete.is_complete and evaluations.not_ranked is not null) as n_not_comparable,
        count(ranked.evaluation_id) as n_ranked
    from complete
    inner join evaluations on complete.evaluation_id = evaluations.evaluation_id
    left join ranked on complete.evaluation_id = ranked.evaluation_id
    group by complete.suite
    order by n_evaluations desc, complete.suite asc
)

select * from counted
