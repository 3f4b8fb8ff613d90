-- Ranked rows whose rank is not 1 + the number of rows ranked above them, or that are ranked above a better average.
with
leaderboard as (
    select * from main.leaderboard
),

compared as (
    select
        suite,
        era,
        rank,
        model_id,
        average,
        row_number() over ranking as position,
        lag(average) over ranking as average_above
    from leaderboard
    window ranking as (partition by suite, era order by rank)
),

misplaced as (
    select *
    from compared
    where rank != position or average > average_above
)

select * from misplaced
