-- One row per complete evaluation and task: the values that decide which evaluations it can be compared with. An imported
-- evaluation without samples has no doc_set_hash: its documents are unknown.
with
task_values as (
    select * from staging.task_values
),

complete as (
    select
        evaluation_id,
        source
    from staging.evaluation_scores
),

compared as (
    select distinct
        task_values.evaluation_id,
        task_values.suite,
        task_values.finished_at,
        task_values.task,
        task_values.task_version,
        task_values.n_shot,
        task_values.doc_set_hash,
        complete.source
    from task_values
    inner join complete on task_values.evaluation_id = complete.evaluation_id
)

select * from compared
