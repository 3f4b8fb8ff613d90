-- Scores that are not a finite number between 0 and 1 (raw) or 0 and 100 (normalized, average).
with
scores as (
    select
        evaluation_id,
        benchmark,
        raw,
        normalized
    from main.benchmark_scores
    union all
    select
        evaluation_id,
        'average' as benchmark,
        0 as raw,
        average as normalized
    from main.leaderboard
),

out_of_range as (
    select *
    from scores
    where not coalesce(raw between 0 and 1 and normalized between 0 and 100, false)
)

select * from out_of_range
