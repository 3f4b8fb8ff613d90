-- One row per era of a suite with ranked rows, the current one first. Parameter: $suite.
with
leaderboard as (
    select
        era,
        is_current_era
    from main.leaderboard
    where suite = $suite
),

counted as (
    select
        era,
        is_current_era,
        count(*) as n_ranked
    from leaderboard
    group by era, is_current_era
    order by is_current_era desc, n_ranked desc, era asc
)

select * from counted
