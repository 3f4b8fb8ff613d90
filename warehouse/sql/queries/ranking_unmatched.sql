-- One row per name in the newest external ranking that matches none of our models, and why, best rank first.
-- Parameter: $ranking.
with
rankings as (
    select * from main.rankings
),

unmatched as (
    select
        rank,
        model_name,
        match,
        candidates
    from rankings
    where ranking = $ranking and is_newest and model_id is null
    order by rank asc, model_name asc
)

select * from unmatched
