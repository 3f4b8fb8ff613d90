-- One row per row of a model in the current era of a suite: its rank, of how many, and its evaluation. Parameter: $model_id.
with
ranks as (
    select
        suite,
        era,
        rank,
        average,
        evaluation_id,
        finished_at,
        model_id,
        revision,
        precision,
        chat_template,
        source,
        identical_to,
        count(*) over (partition by suite, era) as n_ranked
    from main.leaderboard
    where is_current_era
),

of_model as (
    select * exclude (model_id)
    from ranks
    where model_id = $model_id
    order by suite, rank
)

select * from of_model
