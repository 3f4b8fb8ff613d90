-- One row per attempt that has ended.
with
attempts as (
    select * from staging.attempts
)

select * from attempts
