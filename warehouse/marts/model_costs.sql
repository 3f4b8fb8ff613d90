-- One row per model that was run or imported: what all its evaluations have cost so far.
with
costs as (
    select * from main.costs
),

model_costs as (
    select
        model_id,
        count(*) as evaluations,
        sum(attempts)::bigint as attempts,
        sum(elapsed_s order by evaluation_id) as elapsed_s,
        sum(gpu_hours order by evaluation_id) as gpu_hours,
        sum(energy_kwh order by evaluation_id) as energy_kwh,
        sum(estimated_kwh order by evaluation_id) as estimated_kwh,
        sum(co2_kg order by evaluation_id) as co2_kg,
        sum(estimated_co2_kg order by evaluation_id) as estimated_co2_kg
    from costs
    group by model_id
)

select * from model_costs
