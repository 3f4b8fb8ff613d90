-- One row per model: the newest observed state.
with
observed as (
    select * from lake.models
),

newest as (
    select *
    from observed
    qualify row_number() over (partition by model_id order by observed_at desc, observed::varchar) = 1
)

select * from newest
