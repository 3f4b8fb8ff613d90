-- One row per task and document, with its texts; those that a run has read come before imported ones. Joins with samples by task
-- and doc_hash.
with
documents as (
    select * from lake.documents
),

suites as (
    select * from staging.suites
),

declared as (
    select
        task,
        bool_and(publish_documents) as may_publish
    from suites
    group by task
),

unique_documents as (
    select *
    from documents
    qualify row_number() over (partition by task, doc_hash order by is_imported, doc_set_hash) = 1
),

described as (
    select
        unique_documents.*,
        coalesce(declared.may_publish, false) as may_publish
    from unique_documents
    left join declared on unique_documents.task = declared.task
)

select * from described
