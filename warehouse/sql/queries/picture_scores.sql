-- One row per model of a suite and era, from its best row: score, size, and what its evaluation cost. Best first.
-- Parameters: $suite, $era, $models and $sources (as in top_models).
with
best_rows as (
    select *
    from main.top_models($suite, n := null, era := $era, models := $models, sources := $sources)
    qualify row_number() over (partition by model_id order by rank) = 1
),

costs as (
    select * from main.costs
),

scores as (
    select
        best_rows.selected_rank as rank,
        best_rows.model_id,
        best_rows.params_b,
        best_rows.average,
        best_rows.average_low,
        best_rows.average_high,
        best_rows.identical_to is not null as is_copy,
        costs.gpu_hours,
        coalesce(costs.co2_kg + coalesce(costs.estimated_co2_kg, 0), costs.estimated_co2_kg) as co2_kg,
        costs.estimated_co2_kg is not null as is_estimated
    from best_rows
    left join costs on best_rows.evaluation_id = costs.evaluation_id
    order by best_rows.rank
)

select * from scores
