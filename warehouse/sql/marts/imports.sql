-- One row per imported evaluation: what its file says of it.
with
imports as (
    select * from staging.imports
)

select * from imports
