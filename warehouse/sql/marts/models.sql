-- One row per model that was ever discovered or imported, with its newest commit.
with
commits as (
    select * from staging.commits
),

models as (
    select * from staging.models
),

newest_commits as (
    select *
    from commits
    qualify row_number() over (
        partition by model_id order by committed_at desc nulls last, discovered_at desc, revision
    ) = 1
),

imported as (
    select *
    from staging.imports
    qualify row_number() over (
        partition by model_id
        order by source = 'import:results', finished_at desc nulls last, imported_at desc, evaluation_id
    ) = 1
),

discovered as (
    select
        coalesce(models.model_id, newest_commits.model_id) as model_id,
        coalesce(models.organization, newest_commits.organization) as organization,
        models.state,
        models.observed_at,
        newest_commits.revision,
        newest_commits.fingerprint,
        newest_commits.weights_hash,
        newest_commits.params_b,
        newest_commits.license,
        newest_commits.model_type,
        newest_commits.base_model,
        newest_commits.committed_at
    from models
    full outer join newest_commits on models.model_id = newest_commits.model_id
),

joined as (
    select
        discovered.* replace (
            coalesce(discovered.model_id, imported.model_id) as model_id,
            coalesce(discovered.organization, imported.organization) as organization,
            coalesce(
                discovered.state,
                case imported.is_available when true then 'available' when false then 'unavailable' end
            ) as state,
            coalesce(discovered.params_b, imported.params_b) as params_b,
            coalesce(discovered.license, imported.license) as license,
            coalesce(discovered.model_type, imported.model_type) as model_type,
            coalesce(discovered.base_model, imported.base_model) as base_model
        )
    from discovered
    full outer join imported on discovered.model_id = imported.model_id
)

select * from joined
