-- Ranked revisions that discover rejected.
with
leaderboard as (
    select * from main.leaderboard
),

rejected as (
    select
        model_id,
        revision,
        reason
    from main.commits
    where state != 'ok'
),

ranked as (
    select
        leaderboard.suite,
        leaderboard.era,
        leaderboard.model_id,
        leaderboard.revision,
        rejected.reason
    from leaderboard
    inner join rejected on leaderboard.model_id = rejected.model_id and leaderboard.revision = rejected.revision
)

select * from ranked
