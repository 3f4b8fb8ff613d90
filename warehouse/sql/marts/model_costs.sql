-- One row per model that was run or imported: the cost of all its evaluations so far.
with
costs as (
    select * from main.costs
),

model_costs as (
    select
        model_id,
        count(*) as evaluations,
        sum(attempts)::bigint as attempts,
        main.exact_sum(elapsed_s) as elapsed_s,
        main.exact_sum(gpu_hours) as gpu_hours,
        main.exact_sum(energy_kwh) as energy_kwh,
        main.exact_sum(estimated_kwh) as estimated_kwh,
        main.exact_sum(co2_kg) as co2_kg,
        main.exact_sum(estimated_co2_kg) as estimated_co2_kg
    from costs
    group by model_id
)

select * from model_costs
