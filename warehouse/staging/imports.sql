-- One row per imported evaluation: its newest import.
with
imported as (
    select * from lake.imports
),

newest as (
    select *
    from imported
    qualify row_number() over (partition by evaluation_id order by imported_at desc, imported::varchar) = 1
)

select * from newest
