-- One row per complete evaluation and declared era that it matches: whether it has the era's documents. Unknown documents
-- count as the same; another set of tasks does not.
with
matches as (
    select * from staging.era_matches
),

open_documents as (
    select * from staging.open_documents
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

compared as (
    select
        open_documents.evaluation_id,
        open_documents.suite,
        open_documents.era,
        count(settled.task) as n_common,
        count(*) as n_open,
        bool_and(coalesce(open_documents.doc_set_hash = settled.doc_set_hash, true)) as has_settled_docs
    from open_documents
    left join settled
        on
            open_documents.suite = settled.suite
            and open_documents.era = settled.era
            and open_documents.task = settled.task
    group by open_documents.evaluation_id, open_documents.suite, open_documents.era
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
