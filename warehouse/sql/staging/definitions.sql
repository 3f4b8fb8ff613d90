-- One row per suite and task that the suite has now: as the version declares it that was declared last. Every evaluation of
-- the suite is scored by it, whichever version it was run at.
with
suites as (
    select * from staging.suites
),

newest_versions as (
    select
        suite,
        suite_version
    from staging.suite_versions
    where is_newest
),

definitions as (
    select suites.*
    from suites
    inner join newest_versions using (suite, suite_version)
)

select * from definitions
