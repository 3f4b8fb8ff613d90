-- One row per complete evaluation and declared era of its suite with the same task versions and shots. If an era does not
-- declare shots, the suite's present ones count. Unknown documents count as the same.
with
evaluation_tasks as (
    select * from staging.evaluation_tasks
),

eras as (
    select * from staging.eras
),

definitions as (
    select * from staging.definitions
),

declared_eras as (
    select
        suite,
        era,
        min(position) as position,
        count(task) as n_declared_tasks
    from eras
    group by suite, era
),

compared as (
    select
        evaluation_tasks.evaluation_id,
        declared_eras.suite,
        declared_eras.era,
        declared_eras.position,
        evaluation_tasks.finished_at,
        evaluation_tasks.source,
        count(eras.task) = declared_eras.n_declared_tasks as has_declared_tasks,
        bool_and(coalesce(evaluation_tasks.task_version = eras.task_version, eras.task_version is null)) as has_versions,
        bool_and(coalesce(evaluation_tasks.n_shot = coalesce(eras.n_shot, definitions.n_shot), true)) as has_shots,
        bool_and(coalesce(evaluation_tasks.doc_set_hash = eras.doc_set_hash, true)) as has_declared_docs,
        bool_and(evaluation_tasks.doc_set_hash is not null) as has_known_docs
    from evaluation_tasks
    inner join declared_eras on evaluation_tasks.suite = declared_eras.suite
    left join eras
        on
            declared_eras.suite = eras.suite
            and declared_eras.era = eras.era
            and evaluation_tasks.task = eras.task
    left join definitions
        on evaluation_tasks.suite = definitions.suite and evaluation_tasks.task = definitions.task
    group by
        evaluation_tasks.evaluation_id,
        declared_eras.suite,
        declared_eras.era,
        declared_eras.position,
        declared_eras.n_declared_tasks,
        evaluation_tasks.finished_at,
        evaluation_tasks.source
),

matches as (
    select * exclude (has_declared_tasks, has_versions, has_shots)
    from compared
    where has_declared_tasks and has_versions and has_shots
)

select * from matches
