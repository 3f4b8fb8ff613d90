-- One row per complete evaluation: all benchmarks of its suite version have a score. Only these are ranked.
with
benchmark_values as (
    select * from staging.benchmark_values
),

evaluations as (
    select * from staging.evaluations
),

outcomes as (
    select * from staging.outcomes
),

averages as (
    select
        evaluation_id,
        main.exact_mean(normalized) as average,
        sum(cut_prompts)::bigint as cut_prompts
    from benchmark_values
    group by evaluation_id
    having count(*) = count(*) filter (where problem is null)
),

complete as (
    select
        evaluations.*,
        averages.average,
        averages.cut_prompts,
        outcomes.finished_at,
        outcomes.source
    from evaluations
    inner join averages on evaluations.evaluation_id = averages.evaluation_id
    inner join outcomes on evaluations.evaluation_id = outcomes.evaluation_id
)

select * from complete
