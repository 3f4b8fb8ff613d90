-- One row per ended attempt.
with
attempts as (
    select * from staging.attempts
),

evaluations as (
    select
        evaluation_id,
        model_id
    from staging.evaluations
),

named as (
    select
        attempts.*,
        evaluations.model_id,
        main.at_fault(attempts.state) as at_fault
    from attempts
    left join evaluations on attempts.evaluation_id = evaluations.evaluation_id
)

select * from named
