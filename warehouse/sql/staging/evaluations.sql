-- One row per evaluation that was ever planned to run, as first recorded, and per imported one. An imported revision that was
-- discovered has the discovered fingerprint; any other one has its own fingerprint. `settings` and `not_ranked` decide which rows
-- are one and which are none.
with
planned as (
    select * from lake.evaluations
),

imports as (
    select * from staging.imports
),

suite_versions as (
    select
        suite,
        suite_version
    from staging.suite_versions
    where is_newest
),

commits as (
    select
        model_id,
        revision,
        fingerprint
    from staging.commits
    where state = 'ok'
),

first_plan as (
    select *
    from planned
    qualify row_number() over (partition by evaluation_id order by planned_at, planned::varchar) = 1
),

-- Only the file name of a results file counts, not its folder.
row_names as (
    select
        evaluation_id,
        if(source = 'import:results', regexp_extract(row_name, '[^/]*$'), row_name) as name
    from imports
),

imported as (
    select
        imports.evaluation_id,
        imports.suite,
        suite_versions.suite_version,
        imports.model_id,
        imports.revision,
        coalesce(
            commits.fingerprint,
            'import:' || sha256(
                imports.model_id || '@' || coalesce(imports.revision, imports.revision_name, row_names.name)
            )
        ) as fingerprint,
        imports.precision,
        imports.chat_template,
        imports.fewshot_as_multiturn,
        imports.backend,
        imports.harness_version,
        0::bigint as replicate,
        imports.finished_at as planned_at,
        'revision=' || imports.revision_name as revision_name,
        imports.settings as imported_settings,
        case
            when imports.is_withdrawn then 'the newest table of the board no longer has this row'
            else 'not comparable: ' || imports.not_comparable
        end as not_ranked
    from imports
    left join suite_versions on imports.suite = suite_versions.suite
    left join row_names on imports.evaluation_id = row_names.evaluation_id
    left join commits on imports.model_id = commits.model_id and imports.revision = commits.revision
),

all_rows as (
    select * from first_plan
    union all by name
    select * from imported
),

-- lm-eval asks in several turns wherever there is a chat template, unless told otherwise.
evaluations as (
    select
        * exclude (revision_name, imported_settings),
        concat_ws(
            ', ',
            case when chat_template and not fewshot_as_multiturn then 'fewshot_as_multiturn=False' end,
            revision_name,
            imported_settings
        ) as settings
    from all_rows
)

select * from evaluations
