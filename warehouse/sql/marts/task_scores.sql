-- One row per done evaluation, task, metric and filter, as lm-eval reported it, with a 95% interval of its value.
with
task_scores as (
    select * from staging.task_scores
),

sample_variances as (
    select * from derived.sample_variances
),

measured as (
    select
        task_scores.*,
        coalesce(
            sample_variances.variance,
            main.reported_variance(task_scores.value, task_scores.stderr, task_scores.n_samples)
        ) as sampling_variance
    from task_scores
    left join sample_variances
        on
            task_scores.evaluation_id = sample_variances.evaluation_id
            and task_scores.task = sample_variances.task
            and task_scores.metric = sample_variances.metric
            and task_scores.filter = sample_variances.filter
            and task_scores.n_samples = sample_variances.n_documents
),

known as (
    select
        *,
        sampling_variance is not null and n_samples > 0 and value between 0 and 1 as is_fraction
    from measured
),

intervals as (
    select
        * exclude (sampling_variance, is_fraction),
        case when is_fraction then main.wilson_low(value, sampling_variance, n_samples) end as value_low,
        case when is_fraction then main.wilson_high(value, sampling_variance, n_samples) end as value_high
    from known
)

select * from intervals
