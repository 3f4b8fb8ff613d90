-- One row per document of a suite's era: how many models answer it correctly, and how well it separates good models from bad
-- ones. Uses the declared metrics (the mean of several) and filter of each task, the newest evaluation of each model, and
-- identical weights once. Parameters: $suite, $benchmark (null: all), $era (null: the current one).
with
evaluations as (
    select
        leaderboard.evaluation_id,
        leaderboard.average
    from main.leaderboard as leaderboard
    where
        leaderboard.suite = $suite
        and case when $era is null then leaderboard.is_current_era else leaderboard.era = $era end
    qualify
        row_number() over (partition by leaderboard.evaluation_id order by leaderboard.rank) = 1
        and row_number() over (
            partition by leaderboard.model_id order by leaderboard.finished_at desc nulls last, leaderboard.rank
        ) = 1
),

declared as (
    select
        suites.task,
        suites.filter,
        len(suites.metrics) as n_metrics,
        unnest(suites.metrics) as metric
    from main.suites as suites
    where suites.suite = $suite and suites.is_newest and ($benchmark is null or suites.benchmark = $benchmark)
),

values_of_metrics as (
    select
        samples.evaluation_id,
        samples.benchmark,
        samples.task,
        samples.doc_id,
        samples.value,
        evaluations.average,
        declared.n_metrics
    from main.samples as samples
    inner join evaluations on samples.evaluation_id = evaluations.evaluation_id
    inner join declared
        on
            samples.task = declared.task
            and samples.filter = declared.filter
            and samples.metric = declared.metric
),

-- Only tasks with several metrics are aggregated first, because that is slow over all samples.
answers as (
    select * exclude (n_metrics) from values_of_metrics
    where n_metrics = 1
    union all by name
    select
        several.evaluation_id,
        any_value(several.benchmark) as benchmark,
        several.task,
        several.doc_id,
        main.exact_mean(several.value) as value,
        any_value(several.average) as average
    from values_of_metrics as several
    where several.n_metrics > 1
    group by several.evaluation_id, several.task, several.doc_id
),

difficulty as (
    select
        any_value(answers.benchmark) as benchmark,
        answers.task,
        answers.doc_id,
        count(answers.value) as n_models,
        main.exact_mean(answers.value) as share_right,
        corr(answers.value, answers.average) as correlation,
        case when isfinite(correlation) then correlation end as discrimination
    from answers
    group by answers.task, answers.doc_id
    order by share_right, answers.task, answers.doc_id
)

select * from difficulty
