-- One row per suite, era, model, revision, precision, chat template, settings, source and benchmark: the score of each
-- complete commit.
with
revision_scores as (
    select * from staging.revision_scores
),

benchmark_scores as (
    select
        evaluation_id,
        benchmark,
        normalized,
        normalized_low,
        normalized_high
    from main.benchmark_scores
),

average_intervals as (
    select * from staging.average_intervals
),

history as (
    select
        revision_scores.*,
        benchmark_scores.benchmark,
        benchmark_scores.normalized,
        benchmark_scores.normalized_low,
        benchmark_scores.normalized_high,
        average_intervals.average_low,
        average_intervals.average_high
    from revision_scores
    inner join benchmark_scores on revision_scores.evaluation_id = benchmark_scores.evaluation_id
    left join average_intervals on revision_scores.evaluation_id = average_intervals.evaluation_id
)

select * from history
