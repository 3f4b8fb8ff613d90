-- One row per imported score that differs from the one computed from the raw scores in the same row, largest difference first;
-- benchmark `average` compares the mean of the benchmarks. Parameters: $source, $tolerance.
with
imports as (
    select * from main.imports
    where source = $source
),

benchmark_scores as (
    select * from main.benchmark_scores
    where source = $source
),

declared as (
    select
        suite,
        suite_version,
        count(distinct benchmark) as n_benchmarks
    from main.suites
    group by suite, suite_version
),

averages as (
    select
        evaluation_id,
        suite,
        suite_version,
        avg(normalized order by benchmark) as average,
        count(*) as n_benchmarks
    from benchmark_scores
    group by evaluation_id, suite, suite_version
),

compared as (
    select
        evaluation_id,
        benchmark,
        published,
        normalized as recomputed
    from benchmark_scores
    union all by name
    select
        averages.evaluation_id,
        'average' as benchmark,
        imports.published_average as published,
        averages.average as recomputed
    from averages
    inner join imports on averages.evaluation_id = imports.evaluation_id
    inner join declared
        on
            averages.suite = declared.suite
            and averages.suite_version = declared.suite_version
            and averages.n_benchmarks = declared.n_benchmarks
),

named as (
    select
        imports.model_id,
        imports.revision,
        imports.row_name,
        compared.benchmark,
        compared.published,
        compared.recomputed,
        abs(compared.published - compared.recomputed) as difference
    from compared
    inner join imports on compared.evaluation_id = imports.evaluation_id
),

disagreements as (
    select * from named
    where difference > $tolerance
    order by difference desc, model_id asc, row_name asc, benchmark asc
)

select * from disagreements
