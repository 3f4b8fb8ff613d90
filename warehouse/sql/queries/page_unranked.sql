-- One row per evaluation without a ranked row: it waits, runs, has failed, is not complete, or may not be compared; with the
-- reason, newest first for each model. Parameters: $models and $sources, as in page_scored.
with
shown as (
    select * from main.evaluations
    where
        $models is null
        or source in (select unnest(cast($sources as varchar[])))
        or (coalesce(source, 'run') = 'run' and model_id in (select unnest(cast($models as varchar[]))))
),

problems as (
    select
        evaluation_id,
        min(problem) || case when count(*) > 1 then ', and ' || count(*) - 1 || ' more' else '' end as problem
    from main.coverage
    where problem is not null
    group by evaluation_id
),

described as (
    select
        evaluations.model_id,
        evaluations.suite,
        evaluations.revision,
        evaluations.precision,
        evaluations.chat_template,
        evaluations.settings,
        evaluations.source,
        evaluations.evaluation_id,
        case
            when evaluations.state = 'done' and evaluations.not_ranked is not null then 'not comparable'
            when evaluations.state = 'done' then 'not complete'
            else evaluations.state
        end as state,
        evaluations.state = 'done' as is_done,
        coalesce(
            evaluations.not_ranked,
            evaluations.reason,
            problems.problem,
            case when evaluations.suite is null then 'its tasks are not those of a suite' end
        ) as reason,
        coalesce(evaluations.finished_at, evaluations.planned_at) as seen_at,
        evaluations.attempts,
        evaluations.gpu_hours
    from shown as evaluations
    left join problems on evaluations.evaluation_id = problems.evaluation_id
    where evaluations.evaluation_id not in (select candidates.evaluation_id from main.candidates as candidates)
    order by evaluations.model_id, seen_at desc nulls last, evaluations.evaluation_id
)

select * from described
