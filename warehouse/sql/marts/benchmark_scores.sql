-- One row per done evaluation and benchmark with all declared tasks complete. An incomplete benchmark has no score.
with
benchmark_values as (
    select * from staging.benchmark_values
),

evaluations as (
    select * from staging.evaluations
),

outcomes as (
    select * from staging.outcomes
),

intervals as (
    select * from staging.benchmark_intervals
),

scores as (
    select
        evaluations.suite,
        evaluations.suite_version,
        evaluations.evaluation_id,
        evaluations.model_id,
        evaluations.revision,
        evaluations.precision,
        evaluations.chat_template,
        benchmark_values.benchmark,
        benchmark_values.raw,
        benchmark_values.normalized,
        benchmark_values.published,
        intervals.stderr,
        intervals.raw_low,
        intervals.raw_high,
        intervals.normalized_stderr,
        intervals.normalized_low,
        intervals.normalized_high,
        intervals.is_approximate,
        benchmark_values.found_samples as n_samples,
        benchmark_values.cut_prompts,
        outcomes.source
    from benchmark_values
    inner join evaluations on benchmark_values.evaluation_id = evaluations.evaluation_id
    inner join outcomes on benchmark_values.evaluation_id = outcomes.evaluation_id
    left join intervals
        on
            benchmark_values.evaluation_id = intervals.evaluation_id
            and benchmark_values.benchmark = intervals.benchmark
    where benchmark_values.problem is null
)

select * from scores
