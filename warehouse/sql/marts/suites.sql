-- One row per suite version, benchmark and task, as declared.
with
suites as (
    select
        suites.*,
        versions.is_newest
    from staging.suites as suites
    inner join staging.suite_versions as versions using (suite, suite_version)
)

select * from suites
