-- One row per done evaluation: a hash over all inputs of kept models, the files with its scores and samples, and its position
-- in the order of finishing. Files of a done evaluation are never rewritten, so their names identify their contents. A file
-- that is not named after an evaluation may hold rows of any evaluation: then there are no hashes, and the files of no
-- evaluation are known. (A file named after an evaluation that does not exist is a leftover of an interrupted import and is
-- ignored.)
with
outcomes as (
    select
        evaluation_id,
        finished_at,
        outcomes::varchar as described
    from staging.outcomes
),

evaluations as (
    select
        evaluation_id,
        suite,
        suite_version,
        evaluations::varchar as described
    from staging.evaluations
),

definitions as (
    select * exclude (suite_version, suite_title, benchmark_title, declared_at) from staging.definitions
),

measurements as (
    select
        suite,
        suite_version,
        task,
        n_samples,
        n_shot,
        measurement
    from staging.suites
),

imported_scores as (
    select * from staging.imported_scores
),

defined as (
    select
        suite,
        sha256(string_agg(definitions::varchar, ';' order by definitions::varchar)) as definition
    from definitions
    group by suite
),

measured as (
    select
        suite,
        suite_version,
        sha256(string_agg(measurements::varchar, ';' order by measurements::varchar)) as measurement
    from measurements
    group by suite, suite_version
),

published as (
    select
        evaluation_id,
        sha256(string_agg(imported_scores::varchar, ';' order by imported_scores::varchar)) as scores
    from imported_scores
    group by evaluation_id
),

owners as (
    select
        files.*,
        coalesce(whole.evaluation_id, part.evaluation_id) as evaluation_id
    from lake.files as files
    left join evaluations as whole on files.name = whole.evaluation_id
    left join evaluations as part on regexp_replace(files.name, '-[^-]*$', '') = part.evaluation_id
),

strangers as (
    select count(*) > 0 as are_there
    from owners
    where evaluation_id is null and not regexp_full_match(name, '[0-9a-f]{32}(-[0-9a-f]{16})?')
),

owned as (
    select
        evaluation_id,
        count(*) || ' ' || bit_xor(hash(lake_table, name)) as names,
        list(file) filter (where lake_table = 'task_scores') as score_files,
        list(file) filter (where lake_table = 'samples') as sample_files
    from owners
    group by evaluation_id
),

positions as (
    select
        evaluation_id,
        row_number() over (order by finished_at nulls first, evaluation_id) as position
    from outcomes
),

evaluation_inputs as (
    select
        outcomes.evaluation_id,
        case
            when not strangers.are_there then sha256(
                evaluations.described || outcomes.described || coalesce(defined.definition, '')
                || coalesce(measured.measurement, '') || coalesce(published.scores, '') || coalesce(owned.names, '')
            )
        end as inputs,
        case when not strangers.are_there then owned.score_files end as score_files,
        case when not strangers.are_there then owned.sample_files end as sample_files,
        positions.position
    from outcomes
    inner join positions on outcomes.evaluation_id = positions.evaluation_id
    inner join evaluations on outcomes.evaluation_id = evaluations.evaluation_id
    cross join strangers
    left join defined on evaluations.suite = defined.suite
    left join measured
        on evaluations.suite = measured.suite and evaluations.suite_version = measured.suite_version
    left join published on outcomes.evaluation_id = published.evaluation_id
    left join owned on outcomes.evaluation_id = owned.evaluation_id
)

select * from evaluation_inputs
