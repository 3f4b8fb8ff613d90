-- One row per complete evaluation: the hash that names its combination of task versions, shots and documents if it matches no
-- era. An evaluation with unknown documents gets the hash of the first combination that agrees in everything known.
with
evaluation_tasks as (
    select * from staging.evaluation_tasks
),

hashed as (
    select * from staging.evaluation_documents
),

examples as (
    select
        documents,
        min(evaluation_id) as evaluation_id
    from hashed
    group by documents
),

listed as (
    select
        examples.documents,
        evaluation_tasks.task,
        evaluation_tasks.task_version,
        evaluation_tasks.n_shot,
        evaluation_tasks.doc_set_hash
    from examples
    inner join evaluation_tasks using (evaluation_id)
),

digests as (
    select
        documents,
        left(sha256(to_json(list([task, task_version, n_shot::varchar, doc_set_hash] order by task))::varchar), 8) as digest
    from listed
    group by documents
),

combinations as (
    select
        hashed.*,
        digests.digest
    from hashed
    inner join digests using (documents)
),

known as (
    select *
    from combinations
    where has_known_docs
    qualify row_number() over (partition by suite, digest order by source != 'run', finished_at, evaluation_id) = 1
),

adopted as (
    select
        combinations.evaluation_id,
        known.digest
    from combinations
    inner join known on combinations.suite = known.suite and combinations.versions = known.versions
    inner join evaluation_tasks as mine on combinations.evaluation_id = mine.evaluation_id
    inner join evaluation_tasks as theirs on known.evaluation_id = theirs.evaluation_id and mine.task = theirs.task
    where not combinations.has_known_docs
    group by combinations.evaluation_id, known.digest, known.source, known.finished_at, known.evaluation_id
    having bool_and(coalesce(mine.doc_set_hash = theirs.doc_set_hash, true))
    qualify row_number() over (
        partition by combinations.evaluation_id
        order by known.source != 'run', known.finished_at, known.evaluation_id
    ) = 1
),

era_digests as (
    select
        combinations.evaluation_id,
        combinations.suite,
        coalesce(adopted.digest, combinations.digest) as digest
    from combinations
    left join adopted on combinations.evaluation_id = adopted.evaluation_id
)

select * from era_digests
