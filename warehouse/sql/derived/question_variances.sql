-- Sampling variances where documents are not independent: one row per evaluation with samples and task with several metrics (of
-- their mean), and (task null) per benchmark whose tasks share questions (of its raw score). The influence of a document is the
-- change of the score that it causes; influences on one question are added before they are squared (Taylor linearization,
-- clusters).
with
declared_metrics as (
    select * from staging.declared_metrics
    where n_metrics > 1 or independent_share < 1
),

sample_variances as (
    select * from derived.sample_variances
),

samples as (
    select * from lake.samples
    where task in (select declared_metrics.task from declared_metrics)
),

influences as (
    select
        declared_metrics.* exclude (metric),
        samples.doc_id,
        any_value(samples.question_hash) as question_hash,
        count(*) as found_metrics,
        main.exact_sum(samples.weight * (samples.value - sample_variances.mean) / sample_variances.parts) as summed
    from samples
    inner join declared_metrics using (evaluation_id, task, metric, filter)
    inner join sample_variances using (evaluation_id, task, metric, filter)
    group by all
),

units as (
    select
        * exclude (question_hash),
        doc_id::varchar as question,
        summed / n_metrics as influence
    from influences
    where found_metrics = n_metrics and n_metrics > 1
    union all by name
    select
        * exclude (question_hash, task),
        question_hash as question,
        task_weight * summed / n_metrics as influence
    from influences
    where found_metrics = n_metrics and independent_share < 1
),

questions as (
    select
        evaluation_id,
        benchmark,
        task,
        question,
        main.exact_sum(influence) as influence
    from units
    group by all
),

question_variances as (
    select
        evaluation_id,
        benchmark,
        task,
        count(*) as n_questions,
        main.exact_sum(pow(influence, 2)) * count(*) / nullif(count(*) - 1, 0) as variance
    from questions
    group by evaluation_id, benchmark, task
    having bool_and(question is not null)
)

select * from question_variances
