-- One row per evaluation with an ended attempt: the last attempt of the most important shard. A failed shard comes before
-- an interrupted one that will continue, and that before a completed one.
with
attempts as (
    select * from staging.attempts
),

last_of_shards as (
    select *
    from attempts
    qualify row_number() over (partition by evaluation_id, shard order by attempt desc) = 1
),

weighed as (
    select
        *,
        state in ('failed', 'invalid', 'fetch_failed', 'out_of_memory', 'cancelled') as is_broken
    from last_of_shards
),

last_attempts as (
    select *
    from weighed
    qualify row_number() over (
        partition by evaluation_id
        order by is_broken desc, state = 'completed', ended_at desc, shard
    ) = 1
)

select * from last_attempts
