-- One row per suite, era, model, precision and chat template: its newest complete revision, ranked within suite and era.
-- Ties: higher average, then fewer parameters (unknown last), then the model that was run before its copies,
-- then model id, precision and chat template.
with
revision_scores as (
    select * from staging.revision_scores
),

models as (
    select * from main.models
),

organizations as (
    select * from main.organizations
),

current_eras as (
    select * from staging.current_eras
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
        cast(null as bigint) as rank_low,
        cast(null as bigint) as rank_high,
        cast(null as double) as average_stderr,
        current_eras.era is not null as is_current_era,
        organizations.country,
        models.state as model_state
    from ranked
    left join current_eras on ranked.suite = current_eras.suite and ranked.era = current_eras.era
    left join organizations on ranked.organization = organizations.organization
    left join models on ranked.model_id = models.model_id
)

select * from described
