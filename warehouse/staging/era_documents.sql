-- One row per complete evaluation and declared era that it matches: whether it has the era's documents. Documents that are
-- not known are not different; another set of tasks is.
with
matches as (
    select * from staging.era_matches
),

evaluation_tasks as (
    select * from staging.evaluation_tasks
),

settled as (
    select * from staging.settled_documents
),

numbers_settled as (
    select
        suite,
        era,
        count(*) as n_settled
    from settled
    group by suite, era
),

declared_documents as (
    select
        suite,
        era,
        task
    from staging.eras
    where doc_set_hash is not null
),

compared as (
    select
        matches.evaluation_id,
        matches.suite,
        matches.era,
        count(settled.task) as n_common,
        count(*) as n_open,
        bool_and(coalesce(evaluation_tasks.doc_set_hash = settled.doc_set_hash, true)) as has_settled_docs
    from matches
    inner join evaluation_tasks on matches.evaluation_id = evaluation_tasks.evaluation_id
    anti join declared_documents
        on
            matches.suite = declared_documents.suite
            and matches.era = declared_documents.era
            and evaluation_tasks.task = declared_documents.task
    left join settled
        on matches.suite = settled.suite and matches.era = settled.era and evaluation_tasks.task = settled.task
    group by matches.evaluation_id, matches.suite, matches.era
),

judged as (
    select
        matches.*,
        matches.has_declared_docs and case
            when numbers_settled.n_settled is null then true
            else
                coalesce(compared.n_common, 0) = numbers_settled.n_settled
                and coalesce(compared.n_open, 0) = numbers_settled.n_settled
                and compared.has_settled_docs
        end as has_docs
    from matches
    left join compared on matches.evaluation_id = compared.evaluation_id and matches.era = compared.era
    left join numbers_settled on matches.suite = numbers_settled.suite and matches.era = numbers_settled.era
)

select * from judged
