-- One row per name in an external ranking that matches any of our models: by the whole id, by the id ignoring case, or, if the
-- name has no owner, by the last part of the id. The best match counts; two equally good matches are no match.
with
rankings as (
    select * from staging.rankings
),

models as (
    select * from main.models
),

names as (
    select distinct
        model_name,
        lower(model_name) as lower_name
    from rankings
),

fits as (
    select
        names.model_name,
        models.model_id,
        case when names.model_name = models.model_id then 1 else 2 end as distance
    from names
    inner join models on names.lower_name = lower(models.model_id)
    union all by name
    select
        names.model_name,
        models.model_id,
        3 as distance
    from names
    inner join models on names.lower_name = lower(split_part(models.model_id, '/', -1))
),

nearest as (
    select distinct *
    from fits
    qualify distance = min(distance) over (partition by model_name)
),

matches as (
    select
        model_name,
        min(distance) as distance,
        case when count(*) = 1 then min(model_id) end as model_id,
        case when count(*) > 1 then list(model_id order by model_id) end as candidates,
        case when count(*) > 1 then 'ambiguous' else ['id', 'case', 'last_part'][min(distance)] end as match
    from nearest
    group by model_name
)

select * from matches
