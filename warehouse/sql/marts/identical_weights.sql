-- One row per weights and model, for weights that several models have had: which model had them first. The time of a commit is
-- the Hub's, or that of its discovery; commits that were never discovered are not considered.
with
commits as (
    select * from main.commits
    where state = 'ok' and weights_hash is not null
),

first_seen as (
    select
        weights_hash,
        model_id,
        organization,
        min(coalesce(committed_at, discovered_at)) as first_at,
        min(discovered_at) as discovered_at,
        arg_max(revision, (coalesce(committed_at, discovered_at), discovered_at, revision)) as revision,
        list(distinct fingerprint) as fingerprints
    from commits
    group by weights_hash, model_id, organization
),

compared as (
    select
        *,
        count(*) over (partition by weights_hash) as n_models,
        first_value(model_id) over earliest as first_model_id,
        list_has_any(fingerprints, first_value(fingerprints) over earliest) as has_same_files
    from first_seen
    window earliest as (partition by weights_hash order by first_at, discovered_at, model_id)
),

identical_weights as (
    select
        compared.*,
        compared.model_id = compared.first_model_id as is_first,
        models.state as model_state
    from compared
    left join main.models as models on compared.model_id = models.model_id
    where compared.n_models > 1
)

select * from identical_weights
