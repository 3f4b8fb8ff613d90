-- One row per complete evaluation, matching declared era and task for which the era declares no documents: the documents of the
-- evaluation.
with
matches as (
    select * from staging.era_matches
),

evaluation_tasks as (
    select * from staging.evaluation_tasks
),

declared_documents as (
    select
        suite,
        era,
        task
    from staging.eras
    where doc_set_hash is not null
),

open_documents as (
    select
        matches.evaluation_id,
        matches.suite,
        matches.era,
        evaluation_tasks.task,
        evaluation_tasks.doc_set_hash
    from matches
    inner join evaluation_tasks on matches.evaluation_id = evaluation_tasks.evaluation_id
    anti join declared_documents
        on
            matches.suite = declared_documents.suite
            and matches.era = declared_documents.era
            and evaluation_tasks.task = declared_documents.task
)

select * from open_documents
