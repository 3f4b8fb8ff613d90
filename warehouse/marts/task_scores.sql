-- One row per done evaluation, task, metric and filter, as lm-eval reported it.
with
task_scores as (
    select * from staging.task_scores
)

select * from task_scores
