-- One row per done evaluation and declared task: the mean of its declared metrics, and what is wrong with it (null: nothing).
-- Evaluations of imported boards have no tasks.
-- Kept: all rows of an evaluation follow from its own inputs.
with
imported_scores as (
    select evaluation_id from staging.imported_scores
),

evaluations as (
    select evaluations.*
    from staging.evaluations as evaluations
    anti join imported_scores on evaluations.evaluation_id = imported_scores.evaluation_id
),

outcomes as (
    select * from staging.outcomes
),

suites as (
    select * exclude (suite_title, declared_at, benchmark_title, filter, metrics) from staging.suites
),

metrics as (
    select
        * exclude (metrics),
        unnest(metrics) as metric
    from staging.suites
),

task_scores as (
    select * from staging.task_scores
),

metric_values as (
    select
        evaluations.evaluation_id,
        metrics.benchmark,
        metrics.task,
        task_scores.value,
        task_scores.n_samples as found_samples,
        task_scores.task_version,
        task_scores.doc_set_hash,
        task_scores.only_answer,
        task_scores.empty_answers,
        task_scores.cut_prompts,
        task_scores.cut_answers,
        case
            when task_scores.not_finite_answers > 0
                then
                    task_scores.not_finite_answers
                    || if(task_scores.not_finite_answers = 1, ' document has', ' documents have')
                    || ' an answer that is not a finite number'
            when task_scores.value is null then 'no value of ' || metrics.metric
            when not isfinite(task_scores.value) then metrics.metric || ' is not a finite number'
            when task_scores.value not between 0 and 1 then metrics.metric || ' is not a fraction between 0 and 1'
            when task_scores.n_samples is null then 'number of samples not known, to be ' || metrics.n_samples
            when task_scores.n_samples != metrics.n_samples
                then
                    task_scores.n_samples || if(task_scores.n_samples = 1, ' sample', ' samples')
                    || ' instead of ' || metrics.n_samples
            when task_scores.n_shot is null then 'number of shots not known, to be ' || metrics.n_shot
            when task_scores.n_shot != metrics.n_shot
                then
                    task_scores.n_shot || if(task_scores.n_shot = 1, ' shot', ' shots')
                    || ' instead of ' || metrics.n_shot
            when task_scores.task_version is null then 'version of the task not known'
        end as metric_problem
    from evaluations
    inner join metrics on evaluations.suite = metrics.suite and evaluations.suite_version = metrics.suite_version
    left join task_scores
        on
            evaluations.evaluation_id = task_scores.evaluation_id
            and metrics.task = task_scores.task
            and metrics.metric = task_scores.metric
            and metrics.filter = task_scores.filter
),

of_tasks as (
    select
        evaluation_id,
        benchmark,
        task,
        main.exact_mean(value) as value,
        case when bool_and(found_samples is not null or value is null) then coalesce(min(found_samples), 0) end
            as found_samples,
        min(task_version) as task_version,
        min(doc_set_hash) as doc_set_hash,
        min(only_answer) as only_answer,
        max(empty_answers) as empty_answers,
        max(cut_prompts) as cut_prompts,
        max(cut_answers) as cut_answers,
        min(metric_problem) as problem
    from metric_values
    group by evaluation_id, benchmark, task
),

task_values as (
    select
        evaluations.evaluation_id,
        outcomes.finished_at,
        suites.*,
        of_tasks.* exclude (evaluation_id, benchmark, task),
        -- A few documents may well have one answer.
        case
            when of_tasks.found_samples >= 10 and of_tasks.only_answer != ''
                then 'every document got the same answer (' || left(of_tasks.only_answer, 40) || ')'
            when of_tasks.empty_answers > 0
                then
                    of_tasks.empty_answers || ' of ' || of_tasks.found_samples
                    || if(of_tasks.empty_answers = 1, ' answers is empty', ' answers are empty')
        end as warning
    from of_tasks
    inner join evaluations using (evaluation_id)
    inner join outcomes using (evaluation_id)
    inner join suites using (suite, suite_version, benchmark, task)
)

select * from task_values
