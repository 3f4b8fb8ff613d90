-- One row per evaluation that was launched and has no result yet, nor an attempt that failed last; oldest first.
-- Parameters: $models (null: of all).
select
    model_id,
    suite,
    revision,
    precision,
    chat_template,
    attempts,
    planned_at,
    evaluation_id,
    request_id
from main.evaluations
where
    state = 'open'
    and evaluation_id not in (select failures.evaluation_id from main.failures as failures)
    and ($models is null or model_id in (select unnest(cast($models as varchar[]))))
order by planned_at, model_id, evaluation_id
