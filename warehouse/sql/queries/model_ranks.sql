-- One row per suite, era and ranked model: its best rank there, whichever settings and source it has.
with
leaderboard as (
    select * from main.leaderboard
),

ranks as (
    select
        suite,
        era,
        is_current_era,
        model_id,
        min(rank) as rank
    from leaderboard
    group by suite, era, is_current_era, model_id
)

select * from ranks
