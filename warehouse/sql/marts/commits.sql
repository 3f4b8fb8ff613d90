-- One row per model and revision.
with
commits as (
    select * from staging.commits
)

select * from commits
