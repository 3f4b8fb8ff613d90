-- One row per request, as it was first asked, with its state. A request without an event is pending.
with
asked as (
    select * from lake.requests
),

request_events as (
    select * from main.request_events
),

votes as (
    select
        request_id,
        count(distinct voter) as votes
    from lake.votes
    group by request_id
),

first_asked as (
    select *
    from asked
    qualify row_number() over (partition by request_id order by asked_at, asked::varchar) = 1
),

newest_events as (
    select *
    from request_events
    qualify row_number() over (partition by request_id order by changed_at desc) = 1
),

requests as (
    select
        first_asked.*,
        coalesce(newest_events.state, 'pending') as state,
        newest_events.reason as state_reason,
        coalesce(newest_events.changed_at, first_asked.asked_at) as state_since,
        newest_events.n_targets,
        newest_events.n_done,
        newest_events.n_failed,
        newest_events.gpu_hours,
        coalesce(votes.votes, 0) as votes
    from first_asked
    left join newest_events on first_asked.request_id = newest_events.request_id
    left join votes on first_asked.request_id = votes.request_id
)

select * from requests
