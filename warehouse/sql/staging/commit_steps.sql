-- One row per suite, era, model, revision, precision, chat template, settings and source whose complete commit before it was
-- another evaluation: what regressions compare.
with
revision_scores as (
    select * from staging.revision_scores
),

steps as (
    select
        *,
        lag(revision) over commits as revision_before,
        lag(evaluation_id) over commits as evaluation_before
    from revision_scores
    window commits as (
        partition by suite, era, model_id, precision, chat_template, settings, ranked_as
        order by committed_at nulls first, discovered_at, finished_at, revision
    )
),

commit_steps as (
    select * from steps
    where evaluation_id != evaluation_before
)

select * from commit_steps
