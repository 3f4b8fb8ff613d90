-- One row per evaluation that is not done and has a shard whose last attempt did not complete: how that went and its log.
with
evaluations as (
    select * from main.evaluations
),

last_attempts as (
    select * from staging.last_attempts
),

failures as (
    select
        evaluations.evaluation_id,
        evaluations.suite,
        evaluations.model_id,
        evaluations.revision,
        evaluations.state,
        evaluations.attempts,
        last_attempts.shard,
        last_attempts.state as attempt_state,
        last_attempts.reason,
        last_attempts.log,
        last_attempts.log_tail,
        last_attempts.job_id,
        last_attempts.node,
        last_attempts.ended_at
    from evaluations
    inner join last_attempts on evaluations.evaluation_id = last_attempts.evaluation_id
    where evaluations.state != 'done' and last_attempts.state != 'completed'
)

select * from failures
