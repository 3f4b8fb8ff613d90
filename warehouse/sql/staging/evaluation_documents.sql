-- One row per complete evaluation: one hash over the versions and shots of all tasks, and one that includes the documents.
with
evaluation_tasks as (
    select * from staging.evaluation_tasks
),

hashed as (
    select
        evaluation_id,
        suite,
        source,
        finished_at,
        bit_xor(hash(task, task_version, n_shot)) as versions,
        bit_xor(hash(task, task_version, n_shot, doc_set_hash)) as documents,
        bool_and(doc_set_hash is not null) as has_known_docs
    from evaluation_tasks
    group by evaluation_id, suite, source, finished_at
)

select * from hashed
