-- One row per model, precision, chat template, settings and source of a suite's era that passes the filters, best first, with a
-- list of its normalized scores. Null and true pass all rows. Rank intervals are current: none with $as_of.
-- Parameters: $suite, $benchmarks (in the order of the scores), $era (null: the current one), $limit (null: all), and the
-- filters of top_models.
with
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
        with_unavailable := $with_unavailable,
        models := $models,
        sources := $sources
    )
),

-- A list and not a map, which takes ten times as long to become a Python object.
scores as (
    select
        evaluation_id,
        list(normalized order by list_position($benchmarks, benchmark)) as scores
    from main.benchmark_scores
    where evaluation_id in (select selected.evaluation_id from selected)
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
        selected.rank_low,
        selected.rank_high,
        selected.average_low,
        selected.average_high,
        selected.era,
        selected.source,
        selected.is_approximate,
        selected.cut_prompts,
        selected.selected_rank
    from selected
    inner join scores on selected.evaluation_id = scores.evaluation_id
    order by selected.rank
)

select * from ranked
