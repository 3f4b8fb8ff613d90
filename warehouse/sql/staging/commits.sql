-- One row per model and revision: the newest observation, with the time of the first.
with
observed as (
    select * from lake.commits
),

numbered as (
    select
        *,
        min(discovered_at) over (partition by model_id, revision) as first_discovered_at,
        row_number() over (partition by model_id, revision order by discovered_at desc, observed::varchar) as position
    from observed
),

newest as (
    select * exclude (first_discovered_at, position) replace (first_discovered_at as discovered_at)
    from numbered
    where position = 1
)

select * from newest
