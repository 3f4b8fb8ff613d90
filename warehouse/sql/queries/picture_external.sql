-- One row per model that an external ranking and ours have in common: its place in each, among these; most different first.
-- Parameters: $ranking, $suite, $era, $models and $sources (as in top_models).
with
shown as (
    select distinct model_id
    from main.top_models($suite, n := null, era := $era, models := $models, sources := $sources)
),

comparisons as (
    select * from main.ranking_comparisons
    where ranking = $ranking and suite = $suite and era = $era
),

placed as (
    select
        compared.model_id,
        compared.model_name,
        compared.our_average,
        rank() over (order by compared.their_place) as their_place,
        rank() over (order by compared.our_place) as our_place
    from comparisons as compared
    inner join shown on compared.model_id = shown.model_id
    order by abs(their_place - our_place) desc, compared.model_id
)

select * from placed
