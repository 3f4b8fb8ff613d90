-- One row per complete evaluation: the era in which it is ranked. If an era does not declare documents, those of its first
-- evaluation count; a combination that matches no era gets a name made from a hash over it. An imported board has no task
-- versions: its era is the one given at the import.
with
era_documents as (
    select * from staging.era_documents
),

era_digests as (
    select * from staging.era_digests
),

best_matches as (
    select
        evaluation_id,
        era,
        has_docs
    from era_documents
    qualify row_number() over (partition by evaluation_id order by has_docs desc, position, era) = 1
),

named as (
    select
        era_digests.evaluation_id,
        era_digests.suite,
        case
            when best_matches.has_docs then best_matches.era
            when best_matches.era is not null then best_matches.era || '-docs-' || era_digests.digest
            else 'era-' || era_digests.digest
        end as era
    from era_digests
    left join best_matches on era_digests.evaluation_id = best_matches.evaluation_id
),

complete as (
    select evaluation_id from staging.evaluation_scores
),

imported as (
    select
        imports.evaluation_id,
        imports.suite,
        imports.era
    from staging.imports as imports
    semi join complete on imports.evaluation_id = complete.evaluation_id
    where imports.era is not null
),

evaluation_eras as (
    select * from named
    union all by name
    select * from imported
)

select * from evaluation_eras
