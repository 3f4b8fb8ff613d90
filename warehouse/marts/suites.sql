-- One row per suite version, benchmark and task, as declared.
with
suites as (
    select * from staging.suites
)

select * from suites
