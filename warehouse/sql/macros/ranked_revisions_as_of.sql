-- One row per suite, era, model, precision, chat template, settings and source: its newest complete revision known at a given
-- time, ranked within suite and era. A run stands for the rows of boards of the same model and settings; imported results stand
-- for nothing but themselves. Organizations and the models' states are current.
-- Ties: higher average, then fewer parameters (unknown last), then the evaluated model before its copies,
-- then model id, precision, chat template, settings and source. Parameter: $as_of (null: everything).
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
        partition by suite, era, model_id, precision, chat_template, settings, ranked_as
        order by committed_at desc nulls last, discovered_at desc, finished_at desc, revision
    ) = 1
),

standing as (
    select *
    from newest_revisions
    qualify
        ranked_as in ('run', 'import:results')
        or not bool_or(ranked_as = 'run') over (
            partition by suite, era, model_id, precision, chat_template, settings
        )
),

ranked as (
    select
        *,
        row_number() over (
            partition by suite, era
            order by
                average desc, params_b asc nulls last, identical_to is not null, model_id, precision, chat_template,
                settings, ranked_as
        ) as rank
    from standing
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
