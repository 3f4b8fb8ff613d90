-- Benchmarks whose tasks declare different ways to compute the benchmark's score.
with
suites as (
    select * from main.suites
),

inconsistent as (
    select
        suite,
        suite_version,
        benchmark,
        count(distinct row(benchmark_title, benchmark_position, aggregate, normalize, benchmark_lower_bound)) as declarations
    from suites
    group by suite, suite_version, benchmark
    having declarations > 1
)

select * from inconsistent
