-- One row per declared era and task for which the era declares no documents: the documents of the era's first evaluation. Runs
-- come before imports, and an evaluation with unknown documents is skipped.
with
matches as (
    select * from staging.era_matches
),

open_documents as (
    select * from staging.open_documents
),

first_evaluations as (
    select
        suite,
        era,
        evaluation_id
    from matches
    where has_declared_docs and has_known_docs
    qualify row_number() over (partition by suite, era order by source != 'run', finished_at, evaluation_id) = 1
),

settled as (
    select
        open_documents.suite,
        open_documents.era,
        open_documents.task,
        open_documents.doc_set_hash
    from first_evaluations
    inner join open_documents
        on
            first_evaluations.evaluation_id = open_documents.evaluation_id
            and first_evaluations.suite = open_documents.suite
            and first_evaluations.era = open_documents.era
)

select * from settled
