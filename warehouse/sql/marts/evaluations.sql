-- One row per evaluation that was ever planned to run, or imported.
with
evaluations as (
    select * from staging.evaluations
),

outcomes as (
    select * from staging.outcomes
),

last_attempts as (
    select * from staging.last_attempts
),

spent as (
    select
        evaluation_id,
        count(*) as attempts,
        main.exact_sum(elapsed_s) as elapsed_s,
        main.exact_sum(elapsed_s * gpus) / 3600 as gpu_hours,
        main.exact_sum(energy_kwh) as energy_kwh
    from staging.attempts
    group by evaluation_id
),

joined as (
    select
        evaluations.*,
        case
            when outcomes.evaluation_id is not null then 'done'
            when last_attempts.is_broken then 'failed'
            else 'open'
        end as state,
        case when outcomes.evaluation_id is null then last_attempts.reason end as reason,
        outcomes.source,
        coalesce(spent.attempts, 0) as attempts,
        coalesce(outcomes.elapsed_s, spent.elapsed_s) as elapsed_s,
        coalesce(outcomes.gpu_hours, spent.gpu_hours) as gpu_hours,
        coalesce(spent.energy_kwh, outcomes.energy_kwh) as energy_kwh,
        coalesce(imports.co2_kg, main.co2_of_kwh(coalesce(spent.energy_kwh, outcomes.energy_kwh))) as co2_kg,
        outcomes.finished_at
    from evaluations
    left join outcomes on evaluations.evaluation_id = outcomes.evaluation_id
    left join last_attempts on evaluations.evaluation_id = last_attempts.evaluation_id
    left join spent on evaluations.evaluation_id = spent.evaluation_id
    left join staging.imports as imports on evaluations.evaluation_id = imports.evaluation_id
)

select * from joined
