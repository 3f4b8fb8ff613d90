-- One row per suite version, era and task that the era names: the newest declaration of the version.
with
declared as (
    select distinct * from lake.eras
),

newest as (
    select *
    from declared
    qualify rank() over (partition by suite, suite_version order by declared_at desc) = 1
)

select * from newest
