-- One row per imported evaluation: its newest import. Its organization is null if its model is not a repository on the Hub,
-- such as a local folder. A board's rows of one dump have the same time of import: those that the newest dump no longer has are
-- withdrawn.
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
),

compared as (
    select
        *,
        source != 'import:results' and imported_at < max(imported_at) over (partition by source, suite, era) as is_withdrawn
    from newest
)

select * from compared
