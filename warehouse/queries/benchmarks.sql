-- One row per benchmark of a suite, in the order of the newest version that has it. Parameter: $suite.
with
suites as (
    select * from main.suites
),

versions as (
    select
        suite_version,
        row_number() over (order by max(declared_at) desc nulls last, suite_version) as age
    from suites
    where suite = $suite
    group by suite_version
),

benchmarks as (
    select
        suites.benchmark,
        arg_min(suites.benchmark_position, versions.age) as position
    from suites
    inner join versions on suites.suite_version = versions.suite_version
    where suites.suite = $suite
    group by suites.benchmark
    order by min(versions.age), position, suites.benchmark
)

select * from benchmarks
