-- One row: the number of rows of a suite's era, and the list of values of each column that a filter of top_models compares.
-- Parameters: $suite, $era (null: the current one), $as_of (null: everything).
with
ranks as (
    select *
    from main.top_models($suite, n := null, era := $era, as_of := $as_of)
),

found as (
    select
        count(*) as n_rows,
        coalesce(list(distinct model_type) filter (where model_type is not null), []) as model_type,
        coalesce(list(distinct precision) filter (where precision is not null), []) as precision,
        coalesce(list(distinct license) filter (where license is not null), []) as license,
        coalesce(list(distinct organization) filter (where organization is not null), []) as organization,
        coalesce(list(distinct country) filter (where country is not null), []) as country
    from ranks
)

select * from found
