-- One row per month and organization or country with models in the top $n: how many. Those without a name are one.
-- Parameters: $suite, $n, $holder, $era.
with
shares as (
    select
        month,
        coalesce(name, 'unknown') as holder,
        n_models
    from main.top_shares($suite, $n, $holder, era := $era)
    order by month, n_models desc, holder
)

select * from shares
