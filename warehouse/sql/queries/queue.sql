-- The open requests of a board (null: of all boards) in the order in which they are planned; the first $top of them
-- (null: all).
with
requests as (
    select * from main.requests
),

queue as (
    select
        row_number() over (order by priority desc, votes desc, asked_at asc, request_id asc) as place,
        request_id,
        board,
        kind,
        coalesce(model_id, selection) as asked_for,
        revision,
        precision,
        chat_template,
        suites,
        asked_by,
        asked_at,
        state,
        state_since,
        state_reason as waits_for,
        priority,
        votes,
        n_targets,
        n_done,
        gpu_hours,
        -- Those of its kind up to here: each kind has its share of the budget.
        sum(gpu_hours) over (
            partition by kind
            order by priority desc, votes desc, asked_at asc, request_id asc
            rows unbounded preceding
        ) as gpu_hours_until,
        count(*) over () as n_open
    from requests
    where
        state in ('pending', 'accepted', 'planned', 'running')
        and board = coalesce($board, board)
)

select * from queue
order by place
limit $top
