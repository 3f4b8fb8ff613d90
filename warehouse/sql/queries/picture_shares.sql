-- One row per month and organization or country with models in the top $n: how many. Those without a name are one.
-- Parameters: $suite, $n, $holder, $era, $models and $sources (as in top_models).
with
shares as (
    select
        month,
        coalesce(name, 'unknown') as holder,
        n_models
    from main.top_shares($suite, $n, $holder, era := $era, models := $models, sources := $sources)
    order by month, n_models desc, holder
)

select * from shares
