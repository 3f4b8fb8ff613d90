-- One row per model that was ever discovered, with its newest commit.
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

joined as (
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
)

select * from joined
