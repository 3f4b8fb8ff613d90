-- One row per suite, era, model, precision and chat template: its newest complete revision known at a given time,
-- ranked within suite and era. Organizations and the models' states are current.
-- Ties: higher average, then fewer parameters (unknown last), then the evaluated model before its copies,
-- then model id, precision and chat template. Parameter: $as_of (null: everything).
with
revision_scores as (
    select * from main.revision_scores_as_of($as_of)
),

models as (
    select * from main.models
),

organizations as (
    select * from main.organizations
),

newest_revisions as (
    select *
    from revision_scores
    qualify row_number() over (
        partition by suite, era, model_id, precision, chat_template
        order by committed_at desc nulls last, discovered_at desc, finished_at desc, revision
    ) = 1
),

ranked as (
    select
        *,
        row_number() over (
            partition by suite, era
            order by average desc, params_b asc nulls last, identical_to is not null, model_id, precision, chat_template
        ) as rank
    from newest_revisions
),

described as (
    select
        ranked.*,
        organizations.country,
        models.state as model_state
    from ranked
    left join organizations on ranked.organization = organizations.organization
    left join models on ranked.model_id = models.model_id
)

select * from described
