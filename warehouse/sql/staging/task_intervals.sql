-- One row per evaluation and complete task: sampling variance and 95% interval of its value. From the samples; without them,
-- approximate: from the standard errors that lm-eval reports, or as if every document were right or wrong. A single document
-- has no variance.
with
task_values as (
    select
        evaluation_id,
        benchmark,
        task,
        n_samples,
        task_lower_bound,
        independent_share,
        value
    from staging.task_values
    where problem is null
),

declared_metrics as (
    select * from staging.declared_metrics
),

sample_variances as (
    select * from derived.sample_variances
),

question_variances as (
    select * from derived.question_variances
    where task is not null
),

reported as (
    select
        declared_metrics.evaluation_id,
        declared_metrics.task,
        min(declared_metrics.task_weight) as task_weight,
        pow(
            main.exact_mean(sqrt(main.reported_variance(task_scores.value, task_scores.stderr, task_scores.n_samples))), 2
        ) as reported_variance,
        count(task_scores.stderr) = count(*) as is_reported,
        min(sample_variances.variance) as sample_variance,
        min(sample_variances.n_documents) as n_documents,
        count(*) as n_metrics
    from declared_metrics
    left join staging.task_scores as task_scores using (evaluation_id, task, metric, filter)
    left join sample_variances using (evaluation_id, task, metric, filter)
    group by declared_metrics.evaluation_id, declared_metrics.task
),

variances as (
    select
        task_values.*,
        reported.task_weight,
        case
            when reported.n_documents != task_values.n_samples then null
            when reported.n_metrics = 1 then reported.sample_variance
            else question_variances.variance
        end as exact_variance,
        case
            when task_values.n_samples > 1 then coalesce(
                exact_variance,
                case when reported.is_reported then reported.reported_variance end,
                task_values.value * (1 - task_values.value) / task_values.n_samples
            )
        end as variance
    from task_values
    inner join reported using (evaluation_id, task)
    left join question_variances using (evaluation_id, benchmark, task)
),

task_intervals as (
    select
        * exclude (exact_variance),
        exact_variance is null as is_approximate,
        main.wilson_low(value, variance, n_samples) as low,
        main.wilson_high(value, variance, n_samples) as high
    from variances
)

select * from task_intervals
