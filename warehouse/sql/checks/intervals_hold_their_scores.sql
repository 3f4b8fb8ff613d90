-- Scores, averages and ranks outside their own intervals.
with
scores as (
    select
        evaluation_id,
        benchmark as what,
        normalized as value,
        normalized_low as low,
        normalized_high as high
    from main.benchmark_scores
    union all
    select
        evaluation_id,
        benchmark || ' raw' as what,
        raw as value,
        raw_low as low,
        raw_high as high
    from main.benchmark_scores
    union all
    select
        evaluation_id,
        'average' as what,
        average as value,
        average_low as low,
        average_high as high
    from main.leaderboard
    union all
    select
        evaluation_id,
        'rank' as what,
        rank as value,
        rank_low as low,
        rank_high as high
    from main.leaderboard
),

outside as (
    select *
    from scores
    where not coalesce(value between low - 1e-9 and high + 1e-9, false)
)

select * from outside
