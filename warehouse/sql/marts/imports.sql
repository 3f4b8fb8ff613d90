-- One row per imported evaluation, with the values from its file.
with
imports as (
    select * from staging.imports
)

select * from imports
