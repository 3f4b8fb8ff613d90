-- One row per own evaluation and scored benchmark: its score; era and average if the whole evaluation is complete.
with
benchmark_scores as (
    select
        evaluation_id,
        benchmark,
        normalized
    from main.benchmark_scores
    where source = 'run'
),

complete as (
    select
        evaluation_id,
        min(era) as era,
        min(average) as average
    from main.candidates
    group by evaluation_id
),

scores as (
    select
        benchmark_scores.evaluation_id,
        benchmark_scores.benchmark,
        benchmark_scores.normalized,
        complete.average,
        complete.era
    from benchmark_scores
    left join complete on benchmark_scores.evaluation_id = complete.evaluation_id
)

select * from scores
