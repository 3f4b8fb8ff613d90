-- One row per evaluation that is compared with that of another commit of its model.
with
commit_steps as (
    select * from staging.commit_steps
),

compared_evaluations as (
    select evaluation_id from commit_steps
    union
    select evaluation_before as evaluation_id from commit_steps
)

select * from compared_evaluations
