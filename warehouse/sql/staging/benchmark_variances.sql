-- One row per evaluation with tasks and benchmark: sampling variance of the raw score, and, if baselines are per task, the
-- parts of the normalized score's interval (fractions). Tasks are treated as independent, unless they share questions.
with
tasks as (
    select
        *,
        1 / (1 - task_lower_bound) as slope,
        high < task_lower_bound as is_below,
        (value - task_lower_bound) * slope as normalized,
        (low - task_lower_bound) * slope as normalized_low,
        (high - task_lower_bound) * slope as normalized_high
    from staging.task_intervals
),

question_variances as (
    select * from derived.question_variances
    where task is null
),

joined as (
    select
        evaluation_id,
        benchmark,
        min(independent_share) as independent_share,
        sum(n_samples) * min(independent_share) as n_independent,
        bool_or(is_approximate) as is_approximate,
        case when count(variance) = count(*) then main.exact_sum(pow(task_weight, 2) * variance) end as variance,
        case when count(variance) = count(*) then main.exact_sum(pow(task_weight * slope, 2) * variance) end
            as normalized_variance,
        main.exact_sum(task_weight * if(is_below, 0, normalized)) as floor,
        main.exact_sum(pow(task_weight * if(is_below, 0, normalized - normalized_low), 2)) as floor_half_squared,
        main.exact_sum(pow(task_weight * (greatest(0, normalized_high) - greatest(0, normalized)), 2)) as top_half_squared
    from tasks
    group by evaluation_id, benchmark
),

benchmark_variances as (
    select
        joined.evaluation_id,
        joined.benchmark,
        joined.n_independent,
        joined.floor,
        joined.is_approximate or (joined.independent_share < 1 and question_variances.variance is null) as is_approximate,
        coalesce(question_variances.variance, joined.variance / joined.independent_share) as raw_variance,
        joined.normalized_variance / joined.independent_share as normalized_variance,
        sqrt(joined.floor_half_squared / joined.independent_share) as floor_half,
        sqrt(joined.top_half_squared / joined.independent_share) as top_half
    from joined
    left join question_variances using (evaluation_id, benchmark)
)

select * from benchmark_variances
