-- One row per evaluation of a suite, task and declared metric, with the task's weight in the benchmark's raw score.
with
evaluations as (
    select * from staging.evaluations
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

declared_metrics as (
    select
        evaluations.evaluation_id,
        weighted.benchmark,
        weighted.task,
        weighted.filter,
        weighted.independent_share,
        weighted.task_weight,
        len(weighted.metrics) as n_metrics,
        unnest(weighted.metrics) as metric
    from evaluations
    inner join weighted
        on evaluations.suite = weighted.suite and evaluations.suite_version = weighted.suite_version
)

select * from declared_metrics
