-- One row per done evaluation and declared benchmark: raw and normalized score, and what is wrong with it (null: nothing).
-- norm(x, bound) = greatest(0, x - bound) / (1 - bound) * 100, clipped before any mean.
with
task_values as (
    select
        *,
        case aggregate when 'pooled' then n_samples else 1 end as weight,
        greatest(0, value - task_lower_bound) / (1 - task_lower_bound) * 100 as task_normalized
    from staging.task_values
),

aggregated as (
    select
        evaluation_id,
        suite,
        suite_version,
        benchmark,
        min(benchmark_position) as benchmark_position,
        min(normalize) as normalize,
        min(benchmark_lower_bound) as benchmark_lower_bound,
        count(*) as expected_tasks,
        count(*) filter (where problem is null) as found_tasks,
        sum(n_samples)::bigint as expected_samples,
        sum(found_samples)::bigint as found_samples,
        count(distinct coalesce(task_version, '')) as n_task_versions,
        min(task || ': ' || problem) as task_problem,
        sum(value * weight order by task) / sum(weight) as raw,
        sum(task_normalized * weight order by task) / sum(weight) as mean_task_normalized
    from task_values
    group by evaluation_id, suite, suite_version, benchmark
),

normalized as (
    select
        *,
        case normalize
            when 'task' then mean_task_normalized
            when 'benchmark' then greatest(0, raw - benchmark_lower_bound) / (1 - benchmark_lower_bound) * 100
        end as normalized,
        coalesce(task_problem, case when n_task_versions > 1 then 'tasks have different versions' end) as problem
    from aggregated
)

select * from normalized
