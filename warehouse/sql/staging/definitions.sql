-- One row per suite and task in the suite version that was declared last. All evaluations of the suite are scored by it,
-- whichever version they were run with.
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
