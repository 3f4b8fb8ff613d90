-- One row per model of a suite and era, from its best row: score, size, whether it is on the Pareto front of both, and what its
-- evaluation cost. Best first. Parameters: $suite, $era.
with
best_rows as (
    select *
    from main.leaderboard
    where suite = $suite and era = $era
    qualify row_number() over (partition by model_id order by rank) = 1
),

front as (
    select model_id
    from main.size_front($suite, era := $era)
),

costs as (
    select * from main.costs
),

scores as (
    select
        best_rows.rank,
        best_rows.model_id,
        best_rows.params_b,
        best_rows.average,
        best_rows.average_low,
        best_rows.average_high,
        best_rows.identical_to is not null as is_copy,
        front.model_id is not null as is_on_front,
        costs.gpu_hours,
        coalesce(costs.co2_kg + coalesce(costs.estimated_co2_kg, 0), costs.estimated_co2_kg) as co2_kg,
        costs.estimated_co2_kg is not null as is_estimated
    from best_rows
    left join front on best_rows.model_id = front.model_id
    left join costs on best_rows.evaluation_id = costs.evaluation_id
    order by best_rows.rank
)

select * from scores
