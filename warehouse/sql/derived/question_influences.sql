-- One row per evaluation with samples and benchmark: by how much each question raises the normalized score (in points, not
-- clipped at the baseline) above an average question of its task, in the order of questions, with a hash of the documents. Only
-- for evaluations that are compared with another commit's. `reach` is what all questions can add, as in compare.
with
declared_metrics as (
    select declared_metrics.*
    from staging.declared_metrics as declared_metrics
    semi join staging.compared_evaluations using (evaluation_id)
),

sample_variances as (
    select * from derived.sample_variances
),

samples as (
    select * from lake.samples
),

documents as (
    select
        declared_metrics.evaluation_id,
        declared_metrics.benchmark,
        coalesce(samples.question_hash, samples.task || ':' || samples.doc_id) as question,
        hash(samples.task, samples.metric, samples.doc_id, samples.doc_hash) as document,
        sample_variances.variance is not null as has_variance,
        100 * declared_metrics.slope * declared_metrics.task_weight / declared_metrics.n_metrics
        * samples.weight / sample_variances.parts as points,
        points * (samples.value - sample_variances.mean) as influence
    from samples
    inner join declared_metrics using (evaluation_id, task, metric, filter)
    inner join sample_variances using (evaluation_id, task, metric, filter)
),

questions as (
    select
        evaluation_id,
        benchmark,
        question,
        bit_xor(document) as documents,
        bool_and(has_variance) as has_variance,
        main.exact_sum(points) as points,
        main.exact_sum(influence) as influence
    from documents
    group by evaluation_id, benchmark, question
),

question_influences as (
    select
        evaluation_id,
        benchmark,
        bit_xor(documents) as documents,
        main.exact_sum(points) as reach,
        main.exact_sum(pow(points, 2)) as points_squared,
        list(influence::float order by question) as influences
    from questions
    group by evaluation_id, benchmark
    having bool_and(has_variance)
)

select * from question_influences
