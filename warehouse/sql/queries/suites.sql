-- One row per declared suite: its title, its current era and the number of ranked rows in it; most rows first, then most rows in
-- other eras.
with
suites as (
    select
        suite,
        arg_max(suite_title, (declared_at, suite_version)) as title
    from main.suites
    group by suite
),

leaderboard as (
    select
        suite,
        era,
        is_current_era
    from main.leaderboard
),

counted as (
    select
        suites.suite,
        suites.title,
        min(leaderboard.era) filter (where leaderboard.is_current_era) as era,
        count(*) filter (where leaderboard.is_current_era) as n_ranked
    from suites
    left join leaderboard on suites.suite = leaderboard.suite
    group by suites.suite, suites.title
    order by n_ranked desc, count(leaderboard.suite) desc, suites.suite asc
)

select * from counted
