-- One row per done evaluation and declared task: the mean of its declared metrics, and its problem (null: none).
-- Evaluations of imported boards have no tasks.
with
imported_scores as (
    select evaluation_id from staging.imported_scores
),

expected_tasks as (
    select expected_tasks.*
    from staging.expected_tasks as expected_tasks
    anti join imported_scores on expected_tasks.evaluation_id = imported_scores.evaluation_id
),

outcomes as (
    select * from staging.outcomes
),

metrics as (
    select
        * exclude (metrics),
        unnest(metrics) as metric
    from expected_tasks
),

task_scores as (
    select * from staging.task_scores
),

metric_values as (
    select
        metrics.evaluation_id,
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
            when task_scores.value is null then 'no value for ' || metrics.metric
            when metrics.otherwise is not null then metrics.otherwise
            when not isfinite(task_scores.value) then metrics.metric || ' is not a finite number'
            when task_scores.value not between 0 and 1 then metrics.metric || ' is not a fraction between 0 and 1'
            when task_scores.n_samples is null then 'number of samples unknown, expected ' || metrics.n_samples
            when task_scores.n_samples != metrics.n_samples
                then
                    task_scores.n_samples || if(task_scores.n_samples = 1, ' sample', ' samples')
                    || ', expected ' || metrics.n_samples
            when task_scores.n_shot is null then 'number of shots unknown, expected ' || metrics.n_shot
            when task_scores.n_shot != metrics.n_shot
                then
                    task_scores.n_shot || if(task_scores.n_shot = 1, ' shot', ' shots')
                    || ', expected ' || metrics.n_shot
            when task_scores.task_version is null then 'task version unknown'
        end as metric_problem
    from metrics
    left join task_scores
        on
            metrics.evaluation_id = task_scores.evaluation_id
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

declared as (
    select * exclude (filter, metrics, otherwise) from expected_tasks
),

task_values as (
    select
        outcomes.finished_at,
        declared.*,
        of_tasks.* exclude (evaluation_id, benchmark, task),
        -- A few documents can have the same answer by chance.
        case
            when of_tasks.found_samples >= 10 and of_tasks.only_answer != ''
                then 'every document got the same answer (' || left(of_tasks.only_answer, 40) || ')'
            when of_tasks.empty_answers > 0
                then
                    of_tasks.empty_answers || ' of ' || of_tasks.found_samples
                    || if(of_tasks.empty_answers = 1, ' answers is empty', ' answers are empty')
        end as warning
    from of_tasks
    inner join declared using (evaluation_id, benchmark, task)
    inner join outcomes using (evaluation_id)
)

select * from task_values
