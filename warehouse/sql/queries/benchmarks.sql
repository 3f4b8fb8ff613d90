-- One row per benchmark that a suite now declares, in the order of its profile. Parameter: $suite.
with
suites as (
    select * from main.suites
    where suite = $suite
),

newest as (
    select suite_version
    from suites
    group by suite_version
    qualify row_number() over (order by min(declared_at) desc nulls last, suite_version) = 1
),

benchmarks as (
    select
        suites.benchmark,
        min(suites.benchmark_position) as position
    from suites
    inner join newest using (suite_version)
    group by suites.benchmark
    order by position, suites.benchmark
)

select * from benchmarks
