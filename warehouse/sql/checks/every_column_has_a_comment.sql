-- Tables, views, macros and columns of main without a comment.
with
tables as (
    select
        table_name,
        comment
    from duckdb_tables()
    where database_name = current_database() and schema_name = 'main'
    union all
    select
        view_name as table_name,
        comment
    from duckdb_views()
    where database_name = current_database() and schema_name = 'main' and not internal
    union all
    select
        function_name as table_name,
        comment
    from duckdb_functions()
    where database_name = current_database() and schema_name = 'main' and not internal
),

columns as (
    select
        table_name,
        column_name,
        comment
    from duckdb_columns()
    where database_name = current_database() and schema_name = 'main' and not internal
),

undocumented as (
    select
        table_name,
        null as column_name
    from tables
    where coalesce(comment, '') = ''
    union all
    select
        table_name,
        column_name
    from columns
    where coalesce(comment, '') = ''
)

select * from undocumented
