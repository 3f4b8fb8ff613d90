-- One row per suite version, era and task, as declared last, older versions of the suite included.
with
eras as (
    select * from staging.era_declarations
)

select * from eras
