-- One row per evaluation and benchmark that its suite now declares: what a complete run has, and what exists.
with
evaluations as (
    select * from main.evaluations
),

declared as (
    select
        suite,
        benchmark,
        count(*) as expected_tasks,
        sum(n_samples)::bigint as expected_samples
    from staging.definitions
    group by suite, benchmark
),

benchmark_values as (
    select * from staging.benchmark_values
),

coverage as (
    select
        evaluations.evaluation_id,
        evaluations.suite,
        evaluations.model_id,
        evaluations.revision,
        declared.benchmark,
        declared.expected_tasks,
        case when benchmark_values.evaluation_id is null then 0 else benchmark_values.found_tasks end as found_tasks,
        declared.expected_samples,
        case when benchmark_values.evaluation_id is null then 0 else benchmark_values.found_samples end as found_samples,
        benchmark_values.evaluation_id is not null and benchmark_values.problem is null as is_complete,
        case
            when benchmark_values.evaluation_id is null then 'evaluation is ' || evaluations.state
            else coalesce(
                'not run: '
                || json_extract_string(evaluations.left_out, '$."' || declared.benchmark || '"'), benchmark_values.problem
            )
        end as problem,
        benchmark_values.empty_answers,
        benchmark_values.cut_prompts,
        benchmark_values.cut_answers,
        benchmark_values.warning
    from evaluations
    inner join declared on evaluations.suite = declared.suite
    left join benchmark_values
        on
            evaluations.evaluation_id = benchmark_values.evaluation_id
            and declared.benchmark = benchmark_values.benchmark
)

select * from coverage
