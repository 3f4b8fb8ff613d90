-- One row per declared era and task whose documents its declaration leaves open: those of the era's first evaluation. Runs
-- come before imports, and an evaluation that does not know its documents settles none.
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
        first_evaluations.suite,
        first_evaluations.era,
        evaluation_tasks.task,
        evaluation_tasks.doc_set_hash
    from first_evaluations
    inner join evaluation_tasks on first_evaluations.evaluation_id = evaluation_tasks.evaluation_id
    anti join declared_documents
        on
            first_evaluations.suite = declared_documents.suite
            and first_evaluations.era = declared_documents.era
            and evaluation_tasks.task = declared_documents.task
)

select * from settled
