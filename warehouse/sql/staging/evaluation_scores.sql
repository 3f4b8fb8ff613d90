-- One row per complete evaluation that may be ranked: all benchmarks of its suite version have a score.
with
benchmark_values as (
    select * from staging.benchmark_values
),

evaluations as (
    select * exclude (not_ranked) from staging.evaluations
    where not_ranked is null
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
