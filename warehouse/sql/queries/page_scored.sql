-- One row per model, commit and complete evaluation of its files, as the page of a model shows it: the ranked ones of the current
-- era first, then by the time of the commit, newest first.
-- Parameters: $models and $sources: runs of these models, and all that is ranked as these sources (null: everything).
with
scored as (
    select * from main.candidates
    where
        $models is null
        or ranked_as in (select unnest(cast($sources as varchar[])))
        or (ranked_as = 'run' and model_id in (select unnest(cast($models as varchar[]))))
),

ranked as (
    select
        *,
        count(*) over (partition by suite, era) as n_ranked
    from main.leaderboard
),

-- What counts for a commit; other evaluations of it are older ones, or were repeated.
counted as (
    select distinct
        model_id,
        revision,
        evaluation_id,
        average_low,
        average_high
    from main.history
),

described as (
    select
        scored.model_id,
        scored.suite,
        scored.era,
        scored.is_current_era,
        scored.evaluation_id,
        scored.evaluated_model_id,
        scored.revision,
        scored.fingerprint,
        scored.precision,
        scored.chat_template,
        scored.settings,
        scored.average,
        counted.average_low,
        counted.average_high,
        counted.evaluation_id is not null as is_counted,
        scored.cut_prompts,
        scored.source,
        scored.ranked_as,
        coalesce(scored.committed_at, scored.known_at) as happened_at,
        scored.committed_at,
        scored.finished_at,
        ranked.rank,
        ranked.rank_low,
        ranked.rank_high,
        ranked.n_ranked,
        evaluations.revision as evaluated_revision,
        evaluations.suite_version,
        evaluations.fewshot_as_multiturn,
        evaluations.backend,
        evaluations.harness_version,
        evaluations.left_out,
        evaluations.elapsed_s,
        evaluations.gpu_hours,
        costs.energy_kwh,
        costs.estimated_kwh,
        coalesce(evaluations.co2_kg, costs.co2_kg, costs.estimated_co2_kg) as co2_kg,
        imports.source_revision,
        imports.row_name,
        imports.weight_type,
        imports.base_model,
        commits.needs_remote_code
    from scored
    left join main.evaluations as evaluations on scored.evaluation_id = evaluations.evaluation_id
    left join main.costs as costs on scored.evaluation_id = costs.evaluation_id
    left join main.imports as imports on scored.evaluation_id = imports.evaluation_id
    left join main.commits as commits
        on scored.evaluated_model_id = commits.model_id and evaluations.revision = commits.revision
    left join counted
        on
            scored.evaluation_id = counted.evaluation_id
            and scored.model_id = counted.model_id
            and scored.revision is not distinct from counted.revision
    left join ranked
        on
            scored.evaluation_id = ranked.evaluation_id
            and scored.model_id = ranked.model_id
            and scored.revision is not distinct from ranked.revision
    order by
        scored.model_id, scored.suite, scored.is_current_era desc, scored.era, ranked.rank is null, ranked.rank,
        scored.committed_at desc nulls last, scored.finished_at desc nulls last, scored.evaluation_id, scored.revision
)

select * from described
