-- One row per model, precision, chat template, settings and source of a suite's era that passes the filters, best first, with its
-- scores as a map from benchmark to normalized score. Null and true pass all rows. Rank intervals are current: none with $as_of.
-- Parameters: $suite, $era (null: the current one), $limit (null: all), and the filters of top_models.
with
leaderboard as (
    select * from main.leaderboard
),

benchmark_scores as (
    select * from main.benchmark_scores
),

selected as (
    select *
    from main.top_models(
        $suite,
        n := $limit,
        era := $era,
        as_of := $as_of,
        min_params_b := $min_params_b,
        max_params_b := $max_params_b,
        model_type := $model_type,
        precision := $precision,
        license := $license,
        organization := $organization,
        country := $country,
        with_merges := $with_merges,
        with_flagged := $with_flagged,
        with_unavailable := $with_unavailable
    )
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
        selected.rank,
        selected.model_id,
        selected.average,
        selected.params_b,
        selected.license,
        scores.scores,
        selected.precision,
        selected.chat_template,
        selected.settings,
        selected.identical_to,
        selected.revision,
        leaderboard.rank_low,
        leaderboard.rank_high,
        leaderboard.average_low,
        leaderboard.average_high,
        selected.era,
        selected.source,
        leaderboard.is_approximate,
        selected.cut_prompts,
        selected.selected_rank
    from selected
    inner join scores on selected.evaluation_id = scores.evaluation_id
    left join leaderboard
        on
            $as_of is null
            and selected.suite = leaderboard.suite
            and selected.era = leaderboard.era
            and selected.model_id = leaderboard.model_id
            and selected.precision is not distinct from leaderboard.precision
            and selected.chat_template is not distinct from leaderboard.chat_template
            and selected.settings = leaderboard.settings
            and selected.ranked_as = leaderboard.ranked_as
    order by selected.rank
)

select * from ranked
