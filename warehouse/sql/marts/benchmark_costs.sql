-- One row per suite and benchmark: its share of an evaluation's cost, from done evaluations with known times. Energy is not
-- measured per benchmark: it is estimated from GPU-hours, with the GPUs of the evaluation's largest completed attempt.
with
evaluations as (
    select
        evaluation_id,
        suite
    from main.evaluations
),

timed as (
    select
        evaluation_id,
        benchmark,
        max(benchmark_s) as elapsed_s
    from main.task_scores
    where benchmark_s is not null
    group by evaluation_id, benchmark
),

devices as (
    select
        evaluation_id,
        max(gpus) as gpus
    from main.attempts
    where state = 'completed'
    group by evaluation_id
),

summed as (
    select
        evaluations.suite,
        timed.benchmark,
        count(*) as n_evaluations,
        main.exact_mean(timed.elapsed_s) as mean_elapsed_s,
        main.exact_sum(timed.elapsed_s) as elapsed_s,
        main.exact_mean(timed.elapsed_s * devices.gpus) / 3600 as mean_gpu_hours,
        main.exact_sum(timed.elapsed_s * devices.gpus) / 3600 as gpu_hours
    from timed
    inner join evaluations on timed.evaluation_id = evaluations.evaluation_id
    left join devices on timed.evaluation_id = devices.evaluation_id
    where evaluations.suite is not null
    group by evaluations.suite, timed.benchmark
),

benchmark_costs as (
    select
        *,
        elapsed_s / nullif(sum(elapsed_s) over (partition by suite), 0) as share,
        main.estimate_kwh(gpu_hours) as estimated_kwh,
        main.co2_of_kwh(estimated_kwh) as estimated_co2_kg
    from summed
)

select * from benchmark_costs
