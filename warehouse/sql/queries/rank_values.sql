-- One row: how many rows a suite's era has, and a list per column that a filter of top_models compares: its values.
-- Parameters: $suite, $era (null: the current one), $as_of (null: all there is).
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
