-- One row per request: the open ones in the order in which they are planned, then the newest 200 of the others.
-- Parameters: $board (null: of all boards).
with
sorted as (
    select
        *,
        state in ('pending', 'accepted', 'planned', 'running') as is_open
    from main.requests
    where $board is null or board = $board
),

placed as (
    select
        *,
        row_number() over (
            partition by is_open
            order by
                case when is_open then priority end desc, case when is_open then votes end desc,
                case when is_open then asked_at end, state_since desc, request_id
        ) as place
    from sorted
)

select
    request_id,
    kind,
    asked_at,
    reason,
    suites,
    benchmarks,
    coalesce(model_id, selection) as asked_for,
    exclusion,
    state,
    state_reason,
    state_since,
    is_open,
    n_targets,
    n_done,
    n_failed,
    priority,
    votes
from placed
where is_open or place <= 200
order by not is_open, place
