-- One row per content of a request file, as it was first read.
with
files as (
    select * from lake.request_files
),

request_files as (
    select *
    from files
    qualify row_number() over (partition by source, path, blob_id order by read_at, files::varchar) = 1
)

select * from request_files
