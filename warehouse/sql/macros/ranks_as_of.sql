-- One row per suite, era, model, precision, chat template, settings and source: its newest complete revision known at a given
-- time, ranked within suite and era. Without a time, these are the rows that the build has put into leaderboard; with one, they
-- are computed, without intervals. DuckDB runs only one of the two. Parameter: $as_of (null: everything).
with
ranks_now as (
    select leaderboard.*
    from main.leaderboard as leaderboard
    where $as_of is null
),

ranks_then as (
    select ranks.*
    from main.ranked_revisions_as_of($as_of) as ranks
    where $as_of is not null
),

ranks as (
    select * from ranks_now
    union all by name
    select * from ranks_then
)

select * from ranks
