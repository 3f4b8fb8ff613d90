-- One row per evaluation without a ranked row, task and metric: what it measured, in the order of tasks.
select
    evaluation_id,
    task,
    metric,
    value,
    value_low,
    value_high,
    n_samples
from main.task_scores
where
    value is not null
    and evaluation_id not in (select candidates.evaluation_id from main.candidates as candidates)
order by evaluation_id, task, metric, filter
