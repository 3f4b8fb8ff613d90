-- One row per era, model, precision and chat template of a suite: the leaderboard as of a given time, best first.
-- Parameters: $suite, $as_of.
with
ranks as (
    select * from main.ranks_as_of($as_of)
),

leaderboard as (
    select ranks.*
    from ranks
    where ranks.suite = $suite
    order by ranks.is_current_era desc, ranks.era, ranks.rank
)

select * from leaderboard
