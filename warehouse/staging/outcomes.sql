-- One row per evaluation that is done: when it ended and what it cost.
with
observed as (
    select * from lake.outcomes
),

first_outcome as (
    select *
    from observed
    qualify row_number() over (partition by evaluation_id order by finished_at, observed::varchar) = 1
)

select * from first_outcome
