-- One row per done evaluation that ran whole, each shard at its first attempt: what the plan estimated, and what it took.
with
evaluations as (
    select * from main.evaluations
    where source = 'run' and left_out is null
),

commits as (
    select
        model_id,
        revision,
        params_b
    from main.commits
),

composed as (
    select distinct evaluation_id
    from main.task_scores
    where measured_by is not null
),

attempted as (
    select
        evaluation_id,
        min(tier) as tier,
        main.exact_sum(estimate_s) as estimated_s,
        main.exact_sum(elapsed_s) as taken_s,
        main.exact_sum(estimate_s * greatest(gpus, 1)) / 3600 as estimated_gpu_hours,
        main.exact_sum(elapsed_s * greatest(gpus, 1)) / 3600 as taken_gpu_hours
    from main.attempts
    group by evaluation_id
    having bool_and(state = 'completed' and attempt = 1 and estimate_s is not null and elapsed_s > 0)
),

estimates as (
    select
        attempted.*,
        evaluations.suite,
        evaluations.model_id,
        evaluations.revision,
        evaluations.finished_at,
        commits.params_b,
        attempted.taken_s / nullif(attempted.estimated_s, 0) as ratio
    from attempted
    inner join evaluations on attempted.evaluation_id = evaluations.evaluation_id
    left join commits on evaluations.model_id = commits.model_id and evaluations.revision = commits.revision
    where attempted.evaluation_id not in (select composed.evaluation_id from composed)
)

select * from estimates
