-- One row per day of UTC since something was planned or asked: own evaluations done, attempts that did not complete, and what
-- waited at the end of the day. An evaluation waits from its plan until it is done, or until the last attempt of one that failed.
-- Parameters: $models (null: all), $board (of the requests; null: of all boards).
with
runs as (
    select evaluations.*
    from main.evaluations as evaluations
    anti join main.imports as imports on evaluations.evaluation_id = imports.evaluation_id
),

own as (
    select * from runs
    where $models is null or model_id in (select unnest(cast($models as varchar[])))
),

last_attempts as (
    select
        evaluation_id,
        max(ended_at) as ended_at
    from main.attempts
    group by evaluation_id
),

ended as (
    select
        own.planned_at,
        case own.state when 'done' then own.finished_at when 'failed' then last_attempts.ended_at end as ended_at,
        own.state
    from own
    left join last_attempts on own.evaluation_id = last_attempts.evaluation_id
),

asked as (
    select
        asked_at,
        case when state in ('done', 'failed', 'rejected', 'withdrawn') then state_since end as over_at
    from main.requests
    where $board is null or board = $board
),

happened as (
    select
        ended_at as happened_at,
        'done' as what,
        1 as n
    from ended
    where state = 'done'
    union all
    select
        ended_at as happened_at,
        'failed' as what,
        1 as n
    from main.attempts
    where state != 'completed' and ($models is null or model_id in (select unnest(cast($models as varchar[]))))
    union all
    select
        planned_at as happened_at,
        'evaluation' as what,
        1 as n
    from ended
    union all
    select
        greatest(planned_at, ended_at) as happened_at,
        'evaluation' as what,
        -1 as n
    from ended
    where ended_at is not null
    union all
    select
        asked_at as happened_at,
        'request' as what,
        1 as n
    from asked
    union all
    select
        greatest(asked_at, over_at) as happened_at,
        'request' as what,
        -1 as n
    from asked
    where over_at is not null
),

by_day as (
    select
        cast(happened_at at time zone 'UTC' as date) as day,
        count(*) filter (where what = 'done') as n_done,
        count(*) filter (where what = 'failed') as n_failed,
        sum(n) filter (where what = 'evaluation') as more_evaluations,
        sum(n) filter (where what = 'request') as more_requests
    from happened
    where happened_at is not null
    group by all
),

days as (
    select cast(unnest(generate_series(min(day), max(day), interval 1 day)) as date) as day
    from by_day
),

counted as (
    select
        days.day,
        coalesce(by_day.n_done, 0) as n_done,
        coalesce(by_day.n_failed, 0) as n_failed,
        cast(coalesce(sum(by_day.more_evaluations) over (order by days.day), 0) as bigint) as n_evaluations,
        cast(coalesce(sum(by_day.more_requests) over (order by days.day), 0) as bigint) as n_requests
    from days
    left join by_day on days.day = by_day.day
    order by days.day
)

select * from counted
