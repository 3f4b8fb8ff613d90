-- One row per evaluation that was ever planned to run, as it was first written down.
with
planned as (
    select * from lake.evaluations
),

first_plan as (
    select *
    from planned
    qualify row_number() over (partition by evaluation_id order by planned_at, planned::varchar) = 1
)

select * from first_plan
