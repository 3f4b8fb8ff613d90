-- One row per suite, task, metric and document that two models both answered, by the declared metrics and filters of the suites
-- that they share. A document that occurs several times in a task is paired in order of position.
-- Parameters: $model_a, $model_b: a model, model@revision or an evaluation.
with
pairs as (
    select * from main.comparable_evaluations($model_a, $model_b)
),

sides as (
    select
        *,
        unnest(list_distinct([evaluation_a, evaluation_b])) as evaluation_id
    from pairs
),

declared as (
    select
        suites.suite,
        suites.suite_version,
        suites.benchmark,
        suites.task,
        suites.filter,
        unnest(suites.metrics) as metric
    from main.suites as suites
    where suites.is_newest
),

answers as (
    select
        sides.*,
        declared.suite_version,
        declared.benchmark,
        samples.task,
        samples.metric,
        samples.doc_id,
        samples.doc_hash,
        samples.question_hash,
        samples.value,
        samples.weight,
        samples.target,
        samples.response,
        samples.answer,
        row_number() over (
            partition by samples.evaluation_id, sides.suite, samples.task, samples.metric, samples.doc_hash
            order by samples.doc_id
        ) as occurrence
    from main.samples as samples
    inner join sides on samples.evaluation_id = sides.evaluation_id
    inner join declared
        on
            sides.suite = declared.suite
            and samples.task = declared.task
            and samples.metric = declared.metric
            and samples.filter = declared.filter
),

paired as (
    select
        a.suite,
        a.suite_version,
        a.era,
        a.benchmark,
        a.task,
        a.metric,
        a.doc_id,
        a.doc_hash,
        coalesce(a.question_hash, a.task || ':' || a.doc_id) as question,
        a.value as value_a,
        b.value as value_b,
        a.weight,
        a.target,
        a.response as response_a,
        b.response as response_b,
        a.answer as answer_a,
        b.answer as answer_b,
        a.evaluation_a,
        a.evaluation_b
    from answers as a
    inner join answers as b using (suite, task, metric, doc_hash, occurrence)
    where a.evaluation_id = a.evaluation_a and b.evaluation_id = b.evaluation_b
)

select * from paired
