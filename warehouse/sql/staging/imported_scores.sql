-- One row per evaluation of an imported board and benchmark, from the newest import of the evaluation.
with
scores as (
    select * from lake.imported_scores
),

imports as (
    select
        evaluation_id,
        imported_at
    from staging.imports
),

of_newest as (
    select scores.*
    from scores
    inner join imports on scores.evaluation_id = imports.evaluation_id and scores.imported_at = imports.imported_at
),

unique_rows as (
    select *
    from of_newest
    qualify row_number() over (partition by evaluation_id, benchmark order by of_newest::varchar) = 1
)

select * from unique_rows
