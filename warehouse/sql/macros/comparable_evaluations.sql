-- One row per suite that two models share: the two evaluations to compare. They are of the same era, the current one if possible,
-- own runs where there are some, and of the best-ranked settings.
-- Parameters: $model_a, $model_b: a model, model@revision or an evaluation.
with
candidates as (
    select * from main.candidates
),

leaderboard as (
    select * from main.leaderboard
),

asked as (
    select unnest([$model_a, $model_b]) as name
),

named as (
    select
        leaderboard.model_id as name,
        leaderboard.suite,
        leaderboard.era,
        leaderboard.is_current_era,
        leaderboard.evaluation_id,
        leaderboard.ranked_as = 'run' as is_run,
        leaderboard.rank
    from leaderboard
    semi join asked on leaderboard.model_id = asked.name
    union
    select
        asked.name,
        candidates.suite,
        candidates.era,
        candidates.is_current_era,
        candidates.evaluation_id,
        true as is_run,
        0 as rank
    from candidates
    inner join asked
        on
            candidates.evaluation_id = asked.name
            or (contains(asked.name, '@') and starts_with(candidates.model_id || '@' || candidates.revision, asked.name))
),

pairs as (
    select
        a.suite,
        a.era,
        a.evaluation_id as evaluation_a,
        b.evaluation_id as evaluation_b
    from named as a
    inner join named as b on a.suite = b.suite and a.era = b.era
    where a.name = $model_a and b.name = $model_b
    qualify row_number() over (
        partition by a.suite
        order by a.is_current_era desc, a.is_run desc, b.is_run desc, a.rank + b.rank, a.era, a.evaluation_id, b.evaluation_id
    ) = 1
)

select * from pairs
