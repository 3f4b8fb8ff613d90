-- One row per suite version, task and declared metric, with the task's weight in the benchmark's raw score.
with
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
)

select * from suite_metrics
