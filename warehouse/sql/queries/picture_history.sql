-- One row per complete commit of a model, setting and benchmark, and one for the average ('average'): score and 95% interval,
-- oldest first. Of one era: the current one, else that with the most commits. Parameters: $model_id, $suite, $era (null: choose).
with
history as (
    select * from main.history
    where model_id = $model_id and suite = $suite and ($era is null or era = $era)
),

candidates as (
    select
        evaluation_id,
        revision,
        any_value(is_current_era) as is_current_era,
        min(known_at) as known_at
    from main.candidates
    where model_id = $model_id and suite = $suite
    group by evaluation_id, revision
),

titles as (
    select distinct
        benchmark,
        benchmark_title,
        benchmark_position
    from main.suites
    where suite = $suite and is_newest
),

dated as (
    select
        history.*,
        candidates.is_current_era,
        coalesce(history.committed_at, candidates.known_at) as happened_at
    from history
    inner join candidates
        on history.evaluation_id = candidates.evaluation_id and history.revision is not distinct from candidates.revision
),

chosen as (
    select era
    from dated
    group by era
    order by bool_or(is_current_era) desc, count(*) desc, era asc
    limit 1
),

of_era as (
    select dated.*
    from dated
    inner join chosen on dated.era = chosen.era
),

scores as (
    select distinct
        era,
        revision,
        precision,
        chat_template,
        settings,
        ranked_as,
        happened_at,
        'Average' as title,
        -1 as position,
        average as score,
        average_low as low,
        average_high as high
    from of_era
    union all by name
    select
        of_era.era,
        of_era.revision,
        of_era.precision,
        of_era.chat_template,
        of_era.settings,
        of_era.ranked_as,
        of_era.happened_at,
        titles.benchmark_title as title,
        titles.benchmark_position as position,
        of_era.normalized as score,
        of_era.normalized_low as low,
        of_era.normalized_high as high
    from of_era
    inner join titles on of_era.benchmark = titles.benchmark
),

ordered as (
    select *
    from scores
    order by position, title, precision, chat_template, settings, ranked_as, happened_at nulls first, revision
)

select * from ordered
