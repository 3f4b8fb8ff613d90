-- One row per model that the pages of a board show: what is known of it, from the Hub or the newest import.
-- Parameters: $models and $sources: runs of these models, and all that is ranked as these sources (null: everything).
with
imports as (
    select
        model_id,
        arg_max(architecture, imported_at) as architecture,
        arg_max(base_model, imported_at) as base_model,
        max(likes) as likes
    from main.imports
    where not is_withdrawn
    group by model_id
),

commits as (
    select
        model_id,
        arg_max(architecture, discovered_at) as architecture,
        arg_max(context_length, discovered_at) as context_length,
        arg_max(has_chat_template, discovered_at) as has_chat_template
    from main.commits
    group by model_id
),

shown as (
    select model_id from main.models
    where $models is null or model_id in (select unnest(cast($models as varchar[])))
    union
    select model_id from main.candidates
    where $models is null or ranked_as in (select unnest(cast($sources as varchar[])))
    union
    select model_id from main.evaluations
    where $models is null or model_id in (select unnest(cast($models as varchar[])))
),

described as (
    select
        shown.model_id,
        case when models.organization <> models.model_id then organizations.display_name end as display_name,
        organizations.country,
        models.state,
        models.revision,
        models.params_b,
        models.license,
        models.model_type,
        coalesce(models.base_model, imports.base_model) as base_model,
        coalesce(commits.architecture, imports.architecture) as architecture,
        commits.context_length,
        commits.has_chat_template,
        imports.likes,
        models.committed_at
    from shown
    left join main.models as models on shown.model_id = models.model_id
    left join main.organizations as organizations on models.organization = organizations.organization
    left join imports on shown.model_id = imports.model_id
    left join commits on shown.model_id = commits.model_id
    order by shown.model_id
)

select * from described
