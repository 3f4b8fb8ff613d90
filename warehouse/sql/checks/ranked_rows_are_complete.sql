-- Ranked rows without a done evaluation, or whose number of benchmark scores is not the suite's present number of benchmarks.
with
leaderboard as (
    select distinct
        suite,
        model_id,
        evaluation_id
    from main.leaderboard
),

evaluations as (
    select * from main.evaluations
),

found as (
    select
        evaluation_id,
        count(*) as n_benchmarks
    from main.benchmark_scores
    group by evaluation_id
),

declared as (
    select
        suite,
        count(distinct benchmark) as n_benchmarks
    from main.suites
    where is_newest
    group by suite
),

incomplete as (
    select leaderboard.*
    from leaderboard
    left join evaluations on leaderboard.evaluation_id = evaluations.evaluation_id and evaluations.state = 'done'
    left join found on leaderboard.evaluation_id = found.evaluation_id
    left join declared on leaderboard.suite = declared.suite
    where evaluations.evaluation_id is null or coalesce(found.n_benchmarks != declared.n_benchmarks, true)
)

select * from incomplete
