-- One row per external ranking, date and model name: the newest import of that date. A ranking without a date gets the date of
-- its import. If its file has no ranks, they are computed from the scores, and equal scores share the better rank.
with
imported as (
    select * from lake.rankings
),

dated as (
    select * replace (coalesce(published_at, imported_at) as published_at)
    from imported
),

newest_imports as (
    select *
    from dated
    qualify imported_at = max(imported_at) over (partition by ranking, published_at)
),

unique_names as (
    select *
    from newest_imports
    qualify row_number() over (
        partition by ranking, published_at, model_name order by newest_imports::varchar
    ) = 1
),

ordered as (
    select
        *,
        bool_and(rank is not null) over (partition by ranking, published_at) as has_ranks,
        case when is_ascending then score else -score end as distance
    from unique_names
),

ranked as (
    select
        * exclude (has_ranks, distance) replace (
            case
                when has_ranks then rank
                else rank() over (partition by ranking, published_at order by distance asc nulls last)
            end as rank
        ),
        published_at = max(published_at) over (partition by ranking) as is_newest
    from ordered
)

select * from ranked
