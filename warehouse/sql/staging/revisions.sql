-- One row per model and revision that may be ranked: accepted commits, and evaluated revisions that were never discovered
-- (of an imported board without a sha, one per row name). Values missing in a commit are taken from an imported board.
with
commits as (
    select * from staging.commits
),

evaluations as (
    select * from staging.evaluations
),

accepted as (
    select * exclude (ref, state, reason, files)
    from commits
    where state = 'ok' and fingerprint is not null
),

undiscovered as (
    select
        evaluations.model_id,
        split_part(evaluations.model_id, '/', 1) as organization,
        evaluations.revision,
        evaluations.fingerprint,
        min(evaluations.planned_at) as discovered_at
    from evaluations
    anti join commits on evaluations.model_id = commits.model_id and evaluations.revision = commits.revision
    group by all
),

known as (
    select * from accepted
    union all by name
    select * from undiscovered
),

imported as (
    select *
    from staging.imports
    qualify row_number() over (
        partition by model_id, revision
        order by source = 'import:results', finished_at desc nulls last, imported_at desc, evaluation_id
    ) = 1
),

revisions as (
    select
        known.* replace (
            case when imported.evaluation_id is null then known.organization else imported.organization end as organization,
            coalesce(known.params_b, imported.params_b) as params_b,
            coalesce(known.model_type, imported.model_type) as model_type,
            coalesce(known.license, imported.license) as license,
            coalesce(known.base_model, imported.base_model) as base_model,
            coalesce(known.architecture, imported.architecture) as architecture
        ),
        imported.is_merged or coalesce(known.model_type, imported.model_type) = 'merge' as is_merged,
        coalesce(imported.is_flagged, false) as is_flagged
    from known
    left join imported on known.model_id = imported.model_id and known.revision is not distinct from imported.revision
)

select * from revisions
