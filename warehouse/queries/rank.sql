-- One row per ranked model of one suite and era, best first, with its scores as a map from benchmark to normalized score.
-- Parameters: $suite, $era (null: the current one), $limit (null: all).
with
leaderboard as (
    select * from main.leaderboard
),

benchmark_scores as (
    select * from main.benchmark_scores
),

scores as (
    select
        evaluation_id,
        map(list(benchmark), list(normalized)) as scores
    from benchmark_scores
    group by evaluation_id
),

ranked as (
    select
        leaderboard.rank,
        leaderboard.model_id,
        leaderboard.revision,
        leaderboard.precision,
        leaderboard.chat_template,
        leaderboard.average,
        scores.scores,
        leaderboard.params_b,
        leaderboard.license,
        leaderboard.identical_to,
        leaderboard.rank_low,
        leaderboard.rank_high,
        leaderboard.average_low,
        leaderboard.average_high,
        leaderboard.era
    from leaderboard
    inner join scores on leaderboard.evaluation_id = scores.evaluation_id
    where
        leaderboard.suite = $suite
        and case when $era is null then leaderboard.is_current_era else leaderboard.era = $era end
    order by leaderboard.rank
    limit $limit
)

select * from ranked
