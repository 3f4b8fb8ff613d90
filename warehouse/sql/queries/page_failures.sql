-- One row per evaluation whose last attempt did not complete, newest first. Parameters: $models (null: of all).
select
    model_id,
    suite,
    revision,
    state as evaluation_state,
    attempt_state as state,
    at_fault,
    attempts,
    shard,
    reason,
    log,
    log_tail,
    job_id,
    node,
    ended_at,
    evaluation_id
from main.failures
where $models is null or model_id in (select unnest(cast($models as varchar[])))
order by ended_at desc nulls last, model_id, evaluation_id
