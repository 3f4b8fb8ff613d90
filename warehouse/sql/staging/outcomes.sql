-- One row per done evaluation: when it ended and its cost, including imported ones.
with
observed as (
    select * from lake.outcomes
),

first_outcome as (
    select *
    from observed
    qualify row_number() over (partition by evaluation_id order by finished_at, observed::varchar) = 1
),

imported as (
    select
        evaluation_id,
        finished_at,
        source
    from staging.imports
),

outcomes as (
    select * from first_outcome
    union all by name
    select * from imported
)

select * from outcomes
