-- One row per declared suite: its title, its current era and the number of ranked rows in it; most rows first.
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
        era
    from main.leaderboard
    where is_current_era
),

counted as (
    select
        suites.suite,
        suites.title,
        min(leaderboard.era) as era,
        count(leaderboard.suite) as n_ranked
    from suites
    left join leaderboard on suites.suite = leaderboard.suite
    group by suites.suite, suites.title
    order by n_ranked desc, suites.suite asc
)

select * from counted
