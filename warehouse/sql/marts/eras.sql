-- One row per suite version, era and task, as declared last, including older versions of the suite.
with
eras as (
    select * from staging.era_declarations
)

select * from eras
