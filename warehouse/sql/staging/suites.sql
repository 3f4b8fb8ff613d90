-- One row per suite version, benchmark and task: the newest declaration of the version.
with
declared as (
    select * from lake.suites
),

newest as (
    select *
    from declared
    qualify rank() over (partition by suite, suite_version order by declared_at desc) = 1
),

unique_rows as (
    select * replace (coalesce(independent_share, 1) as independent_share)
    from newest
    qualify row_number() over (partition by suite, suite_version, benchmark, task order by newest::varchar) = 1
)

select * from unique_rows
