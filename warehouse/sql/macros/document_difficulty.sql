-- One row per document of a suite's era: how many models answer it correctly, and how well it separates good models from bad
-- ones. Uses the declared metrics (the mean of several) and filter of each task, the newest evaluation of each model, and
-- identical weights once. A document is correlated with the models' averages without its own part of them (item-rest correlation,
-- by the formula of Henrysson 1963). Parameters: $suite, $benchmark (null: all), $era (null: the current one).
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

-- `points`: what a task adds to the average between no and all right answers, not clipped at its baseline.
tasks as (
    select
        suites.*,
        case suites.aggregate when 'pooled' then suites.n_samples else 1 end as task_weight,
        case suites.normalize when 'task' then suites.task_lower_bound else suites.benchmark_lower_bound end as bound,
        100 / (1 - bound) * task_weight / sum(task_weight) over (partition by suites.benchmark)
        / count(distinct suites.benchmark) over () as points
    from main.suites as suites
    where suites.suite = $suite and suites.is_newest
),

declared as (
    select
        tasks.task,
        tasks.filter,
        tasks.points,
        len(tasks.metrics) as n_metrics,
        unnest(tasks.metrics) as metric
    from tasks
    where $benchmark is null or tasks.benchmark = $benchmark
),

values_of_metrics as (
    select
        samples.evaluation_id,
        samples.benchmark,
        samples.task,
        samples.doc_id,
        samples.value,
        samples.weight,
        evaluations.average,
        declared.points,
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
        main.exact_mean(several.weight) as weight,
        any_value(several.average) as average,
        any_value(several.points) as points
    from values_of_metrics as several
    where several.n_metrics > 1
    group by several.evaluation_id, several.task, several.doc_id
),

documents as (
    select
        any_value(answers.benchmark) as benchmark,
        answers.task,
        answers.doc_id,
        count(answers.value) as n_models,
        main.exact_mean(answers.value) as share_right,
        corr(answers.value, answers.average) as correlation,
        stddev_pop(answers.average) as spread,
        stddev_pop(answers.value) * any_value(answers.points) as task_spread,
        any_value(answers.weight) as parts
    from answers
    group by answers.task, answers.doc_id
),

-- What the document adds to the spread of the averages, in points.
parted as (
    select
        *,
        task_spread * parts / sum(parts) over (partition by task) as own_spread,
        pow(spread, 2) + pow(own_spread, 2) - 2 * correlation * spread * own_spread as rest_variance
    from documents
),

difficulty as (
    select
        *,
        case
            when isfinite(correlation) and rest_variance > 1e-9 * pow(spread, 2)
                then (correlation * spread - own_spread) / sqrt(rest_variance)
        end as discrimination
    from parted
    order by share_right, task, doc_id
)

select * from difficulty
