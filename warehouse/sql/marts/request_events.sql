-- One row per change of a request's state.
with
events as (
    select * from lake.request_events
),

request_events as (
    select *
    from events
    qualify row_number() over (partition by request_id, changed_at order by events::varchar) = 1
)

select * from request_events
