-- One row per complete evaluation: the era in which it is ranked. A declared era's first evaluation settles the documents
-- that its declaration leaves open; a combination that no era names gets a name made from a hash over it. An imported board
-- has no task versions: its era is the one that was named when it was imported.
with
evaluation_tasks as (
    select * from staging.evaluation_tasks
),

matches as (
    select * from staging.era_matches
),

combinations as (
    select
        evaluation_id,
        suite,
        left(sha256(to_json(list([task, task_version, n_shot::varchar, doc_set_hash] order by task))::varchar), 8) as digest
    from evaluation_tasks
    group by evaluation_id, suite
),

settled_docs as (
    select
        suite,
        era,
        open_docs
    from matches
    where has_declared_docs
    qualify row_number() over (partition by suite, era order by finished_at, evaluation_id) = 1
),

best_matches as (
    select
        matches.evaluation_id,
        matches.era,
        (matches.has_declared_docs and coalesce(matches.open_docs, 0) = coalesce(settled_docs.open_docs, 0)) as has_docs
    from matches
    left join settled_docs on matches.suite = settled_docs.suite and matches.era = settled_docs.era
    qualify row_number() over (
        partition by matches.evaluation_id order by has_docs desc, matches.position, matches.era
    ) = 1
),

named as (
    select
        combinations.evaluation_id,
        combinations.suite,
        case
            when best_matches.has_docs then best_matches.era
            when best_matches.era is not null then best_matches.era || '-docs-' || combinations.digest
            else 'era-' || combinations.digest
        end as era
    from combinations
    left join best_matches on combinations.evaluation_id = best_matches.evaluation_id
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
