-- One row per declared organization: the newest declaration.
with
declared as (
    select * from lake.organizations
),

newest as (
    select *
    from declared
    qualify row_number() over (partition by organization order by declared_at desc, declared::varchar) = 1
)

select * from newest
