-- One row per external ranking, date and model name, with our matching model. Two names of one ranking never match the same
-- model: the better match is used, then the one with the better rank.
with
rankings as (
    select * from staging.rankings
),

matches as (
    select * from staging.ranking_matches
),

matched as (
    select
        rankings.*,
        matches.model_id,
        matches.candidates,
        coalesce(matches.match, 'none') as match,
        row_number() over (
            partition by rankings.ranking, rankings.published_at, matches.model_id
            order by matches.distance, rankings.rank, rankings.model_name
        ) > 1 and matches.model_id is not null as is_taken
    from rankings
    left join matches on rankings.model_name = matches.model_name
),

named as (
    select
        * exclude (is_taken) replace (
            case when not is_taken then model_id end as model_id,
            case when is_taken then 'taken' else match end as match
        )
    from matched
)

select * from named
