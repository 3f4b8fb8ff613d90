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
        normalized
    from main.benchmark_scores
),

history as (
    select
        revision_scores.*,
        benchmark_scores.benchmark,
        benchmark_scores.normalized
    from revision_scores
    inner join benchmark_scores on revision_scores.evaluation_id = benchmark_scores.evaluation_id
)

select * from history
