-- One row per suite, era and task that the newest version of the suite declares (task null: the era restricts nothing).
with
declarations as (
    select * from staging.era_declarations
),

newest_versions as (
    select
        suite,
        suite_version
    from staging.suite_versions
    where is_newest
),

newest as (
    select declarations.*
    from declarations
    inner join newest_versions using (suite, suite_version)
)

select * from newest
