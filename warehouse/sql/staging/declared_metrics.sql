-- One row per evaluation of a suite, task and declared metric, with the task's weight in the benchmark's raw score, and the slope
-- of the normalized score above its baseline.
with
weighted as (
    select
        evaluation_id,
        benchmark,
        task,
        filter,
        metrics,
        independent_share,
        1 / (1 - case normalize when 'task' then task_lower_bound else benchmark_lower_bound end) as slope,
        case aggregate
            when 'pooled' then n_samples / sum(n_samples) over (partition by evaluation_id, benchmark)
            else 1 / count(*) over (partition by evaluation_id, benchmark)
        end as task_weight
    from staging.expected_tasks
),

declared_metrics as (
    select
        * exclude (metrics),
        len(metrics) as n_metrics,
        unnest(metrics) as metric
    from weighted
)

select * from declared_metrics
