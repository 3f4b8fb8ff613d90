-- One row per external ranking, suite, era and common model: its rank there and here, among the common models.
-- A model with several rows in our ranking (precision, chat template) is compared by its best one.
with
rankings as (
    select * from main.rankings
    where is_newest and model_id is not null
),

leaderboard as (
    select *
    from main.leaderboard
    qualify row_number() over (partition by suite, era, model_id order by rank) = 1
),

common as (
    select
        rankings.ranking,
        leaderboard.suite,
        leaderboard.era,
        leaderboard.model_id,
        rankings.model_name,
        rankings.rank as their_rank,
        rankings.score as their_score,
        leaderboard.rank as our_rank,
        leaderboard.average as our_average,
        leaderboard.evaluation_id
    from rankings
    inner join leaderboard on rankings.model_id = leaderboard.model_id
),

placed as (
    select
        *,
        rank() over (partition by ranking, suite, era order by their_rank) as their_place,
        rank() over (partition by ranking, suite, era order by our_average desc) as our_place
    from common
),

compared as (
    select
        *,
        their_place - our_place as shift
    from placed
)

select * from compared
