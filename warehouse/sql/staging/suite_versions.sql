-- One row per suite version; the newest one is the one that was declared last.
with
suites as (
    select * from staging.suites
),

versions as (
    select
        suite,
        suite_version,
        min(declared_at) as declared_at,
        count(distinct benchmark) as n_benchmarks
    from suites
    group by suite, suite_version
),

numbered as (
    select
        *,
        row_number() over (partition by suite order by declared_at desc nulls last, suite_version) = 1 as is_newest
    from versions
)

select * from numbered
