-- One row per evaluation that is not done and has a shard whose last attempt did not complete: its state, reason and log.
-- Without evaluations whose files have been scored since, for example with another version of the suite.
with
evaluations as (
    select * from main.evaluations
),

last_attempts as (
    select * from staging.last_attempts
),

failed as (
    select
        evaluations.*,
        last_attempts.shard,
        last_attempts.state as attempt_state,
        main.at_fault(last_attempts.state) as at_fault,
        last_attempts.reason as attempt_reason,
        last_attempts.log,
        last_attempts.log_tail,
        last_attempts.job_id,
        last_attempts.node,
        last_attempts.ended_at
    from evaluations
    inner join last_attempts on evaluations.evaluation_id = last_attempts.evaluation_id
    where evaluations.state != 'done' and last_attempts.state != 'completed'
),

solved as (
    select failed.evaluation_id
    from failed
    inner join evaluations as scored
        on
            failed.suite = scored.suite
            and failed.fingerprint = scored.fingerprint
            and failed.precision = scored.precision
            and failed.chat_template = scored.chat_template
            and failed.fewshot_as_multiturn = scored.fewshot_as_multiturn
            and failed.backend = scored.backend
    where scored.state = 'done' and scored.source = 'run' and scored.finished_at > failed.ended_at
),

failures as (
    select * replace (attempt_reason as reason)
    from failed
    where evaluation_id not in (select solved.evaluation_id from solved)
)

select * from failures
