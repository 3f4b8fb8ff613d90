-- One row per model and revision that may be ranked: accepted commits, and evaluated revisions that were never discovered.
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

revisions as (
    select * from accepted
    union all by name
    select * from undiscovered
)

select * from revisions
