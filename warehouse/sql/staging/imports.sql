-- One row per imported evaluation: its newest import. Its organization is null if its model is not a repository on the Hub,
-- such as a local folder.
with
imported as (
    select * from lake.imports
),

newest as (
    select
        *,
        nullif(regexp_extract(model_id, '^([A-Za-z0-9][\w.-]*)(/[\w.-]+)?$', 1), '') as organization
    from imported
    qualify row_number() over (partition by evaluation_id order by imported_at desc, imported::varchar) = 1
)

select * from newest
