-- One row per cause of failures, those that stop the most evaluations first.
select
    attempt_state,
    reason,
    n_evaluations,
    n_models,
    n_open,
    model_id,
    log,
    main.at_fault(attempt_state) as at_fault
from main.failure_causes
order by n_open = n_evaluations, n_evaluations desc, attempt_state, reason
