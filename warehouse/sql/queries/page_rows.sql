-- One row per evaluation that counts for a commit of a suite, as the page shows it: the ranked ones in the order of their ranks,
-- then those of older commits, which a ranking of the past needs. Scores are lists in the order of $benchmarks.
-- Parameters: $suite, $benchmarks; $models and $sources: runs of these models, and all ranked as these sources (null: all).
with
counted as (
    select * from main.revision_scores_as_of(null)
    where
        suite = $suite
        and (
            $models is null
            or ranked_as in (select unnest(cast($sources as varchar[])))
            or (ranked_as = 'run' and model_id in (select unnest(cast($models as varchar[]))))
        )
),

ranked as (
    select * from main.leaderboard
    where suite = $suite
),

averages as (
    select distinct
        evaluation_id,
        average_low,
        average_high
    from main.history
    where suite = $suite
),

scores as (
    select
        evaluation_id,
        list(raw order by list_position($benchmarks, benchmark)) as raw,
        list(normalized order by list_position($benchmarks, benchmark)) as normalized,
        list(normalized_low order by list_position($benchmarks, benchmark)) as low,
        list(normalized_high order by list_position($benchmarks, benchmark)) as high,
        bool_or(is_approximate) as is_approximate
    from main.benchmark_scores
    where suite = $suite
    group by evaluation_id
),

rows as (
    select
        counted.era,
        counted.is_current_era,
        ranked.rank,
        ranked.rank_low,
        ranked.rank_high,
        counted.model_id,
        nullif(counted.organization, counted.model_id) as organization,
        organizations.country,
        counted.revision,
        counted.precision,
        counted.chat_template,
        counted.settings,
        counted.params_b,
        counted.model_type,
        counted.license,
        coalesce(imports.base_model, models.base_model) as base_model,
        imports.architecture,
        counted.is_merged,
        counted.is_flagged,
        imports.is_moe,
        imports.is_official,
        coalesce(ranked.model_state, models.state) as model_state,
        counted.average,
        averages.average_low,
        averages.average_high,
        scores.is_approximate,
        counted.identical_to,
        counted.source,
        imports.likes,
        imports.uploaded_at,
        counted.committed_at,
        counted.known_at,
        costs.gpu_hours,
        coalesce(costs.co2_kg, costs.estimated_co2_kg) as co2_kg,
        counted.evaluation_id,
        scores.raw,
        scores.normalized,
        scores.low,
        scores.high
    from counted
    inner join scores on counted.evaluation_id = scores.evaluation_id
    left join averages on counted.evaluation_id = averages.evaluation_id
    left join ranked
        on
            counted.evaluation_id = ranked.evaluation_id
            and counted.model_id = ranked.model_id
            and counted.revision is not distinct from ranked.revision
    left join main.models as models on counted.model_id = models.model_id
    left join main.organizations as organizations on counted.organization = organizations.organization
    left join main.imports as imports on counted.evaluation_id = imports.evaluation_id
    left join main.costs as costs on counted.evaluation_id = costs.evaluation_id
    order by
        ranked.rank is null, counted.era, ranked.rank, counted.model_id, counted.known_at, counted.revision,
        counted.evaluation_id
)

select * from rows
