-- One row per attempt that did not complete, the newest 50 of each model, newest first.
-- Parameters: $models (null: of all).
with
failed as (
    select * from main.attempts
    where state != 'completed' and ($models is null or model_id in (select unnest(cast($models as varchar[]))))
),

ended as (
    select
        attempts.model_id,
        evaluations.suite,
        evaluations.revision,
        attempts.evaluation_id,
        attempts.shard,
        attempts.attempt,
        attempts.state,
        attempts.at_fault,
        attempts.reason,
        attempts.log,
        attempts.log_tail,
        attempts.node,
        attempts.job_id,
        attempts.ended_at,
        row_number() over (
            partition by attempts.model_id
            order by attempts.ended_at desc, attempts.evaluation_id, attempts.shard, attempts.attempt desc
        ) as place
    from failed as attempts
    left join main.evaluations as evaluations on attempts.evaluation_id = evaluations.evaluation_id
)

select * from ended
where place <= 50
order by model_id, place
