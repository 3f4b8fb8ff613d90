-- One row per evaluation of a suite, task and declared metric, with the task's weight in the benchmark's raw score.
-- Kept: all rows of an evaluation follow from its own inputs.
with
evaluations as (
    select
        evaluation_id,
        suite,
        suite_version
    from staging.evaluations
),

suites as (
    select * from staging.suites
),

weighted as (
    select
        suite,
        suite_version,
        benchmark,
        task,
        filter,
        metrics,
        independent_share,
        case aggregate
            when 'pooled' then n_samples / sum(n_samples) over (partition by suite, suite_version, benchmark)
            else 1 / count(*) over (partition by suite, suite_version, benchmark)
        end as task_weight
    from suites
),

suite_metrics as (
    select
        * exclude (metrics),
        len(metrics) as n_metrics,
        unnest(metrics) as metric
    from weighted
),

declared_metrics as (
    select
        evaluations.evaluation_id,
        suite_metrics.* exclude (suite, suite_version)
    from evaluations
    inner join suite_metrics using (suite, suite_version)
)

select * from declared_metrics
