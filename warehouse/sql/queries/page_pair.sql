-- One row per document on which two models differ in a score that counts, with what was asked and answered, cut to $most
-- characters. Texts that may not be published, or of which that is not known, are null. Parameters: $model_a, $model_b, $most.
with
paired as (
    select
        suite,
        benchmark,
        task,
        doc_id,
        doc_hash,
        list(metric order by metric) as metrics,
        list(value_a order by metric) as values_a,
        list(value_b order by metric) as values_b,
        any_value(coalesce(answer_a, response_a)) as answer_a,
        any_value(coalesce(answer_b, response_b)) as answer_b,
        any_value(target) as target
    from main.paired_answers($model_a, $model_b)
    group by suite, benchmark, task, doc_id, doc_hash
    having bool_or(value_a is distinct from value_b)
),

joined as (
    select
        paired.*,
        coalesce(documents.may_publish, false) as may_publish,
        documents.task is not null as is_known,
        documents.question,
        documents.choices,
        documents.target as told_target,
        documents.category
    from paired
    left join main.documents as documents on paired.task = documents.task and paired.doc_hash = documents.doc_hash
),

described as (
    select
        suite,
        benchmark,
        task,
        doc_id,
        doc_hash,
        metrics,
        values_a,
        values_b,
        is_known,
        may_publish,
        case when may_publish then left(question, $most) end as question,
        case when may_publish then list_transform(choices, lambda choice: left(choice, $most)) end as choices,
        case when may_publish then left(coalesce(told_target, target), $most) end as target,
        case when may_publish then left(category, $most) end as category,
        case when may_publish then left(answer_a, $most) end as answer_a,
        case when may_publish then left(answer_b, $most) end as answer_b
    from joined
    order by suite, benchmark, task, doc_id, doc_hash
)

select * from described
