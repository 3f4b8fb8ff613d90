-- One row per suite, task, metric and document that two models both answered: its contribution to each normalized score, in
-- points, the largest possible one, and its influence on the difference (linearized; null for the only document of a task,
-- which says nothing about the variance). Parameters: $model_a, $model_b.
with
answers as (
    select
        answers.*,
        suites.benchmark_position as position,
        case suites.normalize when 'task' then suites.task_lower_bound else suites.benchmark_lower_bound end as bound,
        case suites.aggregate when 'pooled' then suites.n_samples else 1 end / len(suites.metrics) as share,
        count(*) over metrics as n_documents,
        sum(answers.weight) over metrics as parts,
        row_number() over (metrics order by answers.doc_id) as place
    from main.paired_answers($model_a, $model_b) as answers
    inner join main.suites as suites using (suite, suite_version, benchmark, task)
    where answers.value_a is not null and answers.value_b is not null
    window metrics as (partition by answers.suite, answers.task, answers.metric)
),

weighted as (
    select
        *,
        100 * share / (1 - bound) * weight / parts
        / sum(case when place = 1 then share else 0 end) over (partition by suite, benchmark) as points
    from answers
),

effects as (
    select
        *,
        points * (value_a - bound) as points_a,
        points * (value_b - bound) as points_b,
        case
            when n_documents > 1
                then points * (
                    value_a - value_b - sum((value_a - value_b) * weight) over (partition by suite, task, metric) / parts
                )
        end as influence
    from weighted
)

select * from effects
