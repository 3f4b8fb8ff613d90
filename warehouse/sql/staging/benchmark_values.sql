-- One row per done evaluation and declared benchmark: raw and normalized score, and its problem (null: none).
-- An imported board has no tasks: its normalized score is computed if the benchmark has one baseline, otherwise as published.
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
        benchmark,
        min(benchmark_position) as benchmark_position,
        min(normalize) as normalize,
        min(benchmark_lower_bound) as benchmark_lower_bound,
        count(*) as expected_tasks,
        count(*) filter (where problem is null) as found_tasks,
        sum(n_samples)::bigint as expected_samples,
        case when count(found_samples) = count(*) then sum(found_samples)::bigint end as found_samples,
        count(distinct coalesce(task_version, '')) as n_task_versions,
        min(task || ': ' || problem) as task_problem,
        min(task || ': ' || warning) as first_warning,
        count(warning) as n_warnings,
        sum(empty_answers)::bigint as empty_answers,
        sum(cut_prompts)::bigint as cut_prompts,
        sum(cut_answers)::bigint as cut_answers,
        main.exact_sum(value * weight) / sum(weight) as raw,
        main.exact_sum(task_normalized * weight) / sum(weight) as mean_task_normalized
    from task_values
    group by evaluation_id, suite, benchmark
),

normalized as (
    select
        * exclude (first_warning, n_warnings),
        first_warning || case n_warnings
            when 1 then ''
            when 2 then '; also in another task'
            else '; also in ' || (n_warnings - 1) || ' other tasks'
        end as warning,
        case normalize
            when 'task' then mean_task_normalized
            when 'benchmark' then greatest(0, raw - benchmark_lower_bound) / (1 - benchmark_lower_bound) * 100
        end as normalized,
        coalesce(task_problem, case when n_task_versions > 1 then 'tasks have different versions' end) as problem
    from aggregated
),

imported_scores as (
    select * from staging.imported_scores
),

imports as (
    select evaluations.*
    from staging.evaluations as evaluations
    semi join imported_scores on evaluations.evaluation_id = imported_scores.evaluation_id
),

declared as (
    select
        suite,
        benchmark,
        min(benchmark_position) as benchmark_position,
        min(normalize) as normalize,
        min(benchmark_lower_bound) as benchmark_lower_bound,
        count(*) as expected_tasks,
        sum(n_samples)::bigint as expected_samples,
        case
            when min(normalize) = 'benchmark' then min(benchmark_lower_bound)
            when count(*) = 1 then min(task_lower_bound)
        end as bound
    from staging.definitions
    group by suite, benchmark
),

published as (
    select
        imports.evaluation_id,
        declared.suite,
        declared.benchmark,
        declared.benchmark_position,
        declared.normalize,
        declared.benchmark_lower_bound,
        declared.expected_tasks,
        declared.expected_samples,
        imported_scores.raw,
        imported_scores.published,
        case
            when declared.bound is null then imported_scores.published
            else greatest(0, imported_scores.raw - declared.bound) / (1 - declared.bound) * 100
        end as normalized,
        case
            when imported_scores.raw is null then 'the board has no score'
            when not coalesce(normalized between 0 and 100, false)
                then 'the board has no normalized score between 0 and 100'
        end as problem
    from imports
    inner join declared on imports.suite = declared.suite
    left join imported_scores
        on imports.evaluation_id = imported_scores.evaluation_id and declared.benchmark = imported_scores.benchmark
),

benchmark_values as (
    select * from normalized
    union all by name
    select * from published
)

select * from benchmark_values
