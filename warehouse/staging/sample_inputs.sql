-- One row per done evaluation with samples: a hash over all that decides what a model makes of them, and the files that hold
-- them. The samples of a done evaluation are never written anew, so the names of their files stand for what is in them. A file
-- that no evaluation gave its name may hold anybody's samples: then there are no hashes, and everybody's files are all files.
with
outcomes as (
    select evaluation_id from staging.outcomes
),

evaluations as (
    select * from staging.evaluations
),

suite_metrics as (
    select * from staging.suite_metrics
),

declarations as (
    select
        suite,
        suite_version,
        string_agg(suite_metrics::varchar, ';' order by suite_metrics::varchar) as declaration
    from suite_metrics
    group by suite, suite_version
),

declared as (
    select
        evaluations.evaluation_id,
        declarations.declaration
    from evaluations
    inner join declarations using (suite, suite_version)
),

owners as (
    select
        sample_files.name,
        sample_files.file,
        coalesce(whole.evaluation_id, part.evaluation_id) as evaluation_id
    from lake.sample_files as sample_files
    left join evaluations as whole on sample_files.name = whole.evaluation_id
    left join evaluations as part on regexp_replace(sample_files.name, '-[^-]*$', '') = part.evaluation_id
),

strangers as (
    select
        bool_or(evaluation_id is null) as are_there,
        list_sort(list_distinct(list(file))) as all_files
    from owners
),

owned as (
    select
        evaluation_id,
        string_agg(name, ';' order by name) as names,
        list_sort(list_distinct(list(file))) as files
    from owners
    group by evaluation_id
),

sample_inputs as (
    select
        outcomes.evaluation_id,
        case when not strangers.are_there then sha256(owned.names || coalesce(declared.declaration, '')) end as inputs,
        case when strangers.are_there then strangers.all_files else owned.files end as files
    from outcomes
    cross join strangers
    left join owned on outcomes.evaluation_id = owned.evaluation_id
    left join declared on outcomes.evaluation_id = declared.evaluation_id
    where strangers.are_there or owned.files is not null
)

select * from sample_inputs
