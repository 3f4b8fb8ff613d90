-- One row per ended attempt.
with
observed as (
    select * from lake.attempts
),

first_record as (
    select *
    from observed
    qualify row_number() over (partition by evaluation_id, shard, attempt order by ended_at, observed::varchar) = 1
)

select * from first_record
