-- One row per evaluation: what it has cost so far.
with
evaluations as (
    select * from main.evaluations
),

commits as (
    select
        model_id,
        revision,
        params_b
    from main.commits
),

costs as (
    select
        evaluations.*,
        commits.params_b
    from evaluations
    left join commits on evaluations.model_id = commits.model_id and evaluations.revision = commits.revision
)

select * from costs
