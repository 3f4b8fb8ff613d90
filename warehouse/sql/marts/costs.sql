-- One row per evaluation: its cost so far. Measured and estimated energy are separate and add up: energy is estimated only for
-- attempts whose energy the cluster does not measure.
with
evaluations as (
    select * from main.evaluations
),

commits as (
    select
        model_id,
        revision,
        params_b
    from main.commits
),

unmetered as (
    select
        evaluation_id,
        main.exact_sum(case when energy_kwh is null then elapsed_s * gpus end) / 3600 as gpu_hours
    from main.attempts
    group by evaluation_id
),

estimated as (
    select
        evaluations.*,
        main.estimate_kwh(
            case
                when unmetered.evaluation_id is not null then unmetered.gpu_hours
                when evaluations.energy_kwh is null then evaluations.gpu_hours
            end
        ) as estimated_kwh
    from evaluations
    left join unmetered on evaluations.evaluation_id = unmetered.evaluation_id
),

costs as (
    select
        estimated.*,
        main.co2_of_kwh(estimated.estimated_kwh) as estimated_co2_kg,
        commits.params_b
    from estimated
    left join commits on estimated.model_id = commits.model_id and estimated.revision = commits.revision
)

select * from costs
