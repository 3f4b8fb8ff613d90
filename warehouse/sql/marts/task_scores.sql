-- One row per done evaluation, task, metric and filter, as lm-eval reported it, with a 95% interval of its value.
-- Kept: all rows of an evaluation follow from its own inputs.
with
task_scores as (
    select * from staging.task_scores
),

sample_variances as (
    select * from staging.sample_variances
),

measured as (
    select
        task_scores.*,
        coalesce(sample_variances.variance, pow(task_scores.stderr, 2)) as variance,
        variance is not null and task_scores.n_samples > 0 and task_scores.value between 0 and 1 as is_known
    from task_scores
    left join sample_variances
        on
            task_scores.evaluation_id = sample_variances.evaluation_id
            and task_scores.task = sample_variances.task
            and task_scores.metric = sample_variances.metric
            and task_scores.filter = sample_variances.filter
            and task_scores.n_samples = sample_variances.n_documents
),

intervals as (
    select
        * exclude (variance, is_known),
        case when is_known then main.wilson_low(value, variance, n_samples) end as value_low,
        case when is_known then main.wilson_high(value, variance, n_samples) end as value_high
    from measured
)

select * from intervals
