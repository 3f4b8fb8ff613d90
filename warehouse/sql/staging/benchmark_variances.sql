-- One row per evaluation with tasks and benchmark: sampling variance of the raw score, and, if baselines are per task, the
-- parts of the normalized score's interval (fractions). Tasks are treated as independent, unless they share questions.
-- While no task's interval reaches its baseline, the normalized score is linear in the answers, and has Wilson's interval at its
-- effective size (Korn & Graubard 1998): MOVER (Zou & Donner 2008) is too narrow above scores near the ceiling. Else the wider of
-- the two counts, on each side.
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
        bool_or(normalized_low <= 0) as is_clipped,
        main.exact_sum(task_weight * normalized) as linear,
        main.exact_sum(task_weight * task_lower_bound * slope) as depth,
        main.exact_sum(task_weight * if(is_below, 0, normalized)) as floor,
        main.exact_sum(pow(task_weight * if(is_below, 0, normalized - normalized_low), 2)) as floor_half_squared,
        main.exact_sum(pow(task_weight * (greatest(0, normalized_high) - greatest(0, normalized)), 2)) as top_half_squared
    from tasks
    group by evaluation_id, benchmark
),

halves as (
    select
        *,
        normalized_variance / independent_share as clustered_variance,
        sqrt(floor_half_squared / independent_share) as mover_floor_half,
        sqrt(top_half_squared / independent_share) as mover_top_half,
        -- The linear score as a fraction of its range, which begins below 0: at the score without any right answer.
        least(1, (linear + depth) / (1 + depth)) as share,
        clustered_variance / pow(1 + depth, 2) as share_variance,
        (1 + depth) * (share - main.wilson_low(share, share_variance, n_independent)) as wilson_floor_half,
        (1 + depth) * (main.wilson_high(share, share_variance, n_independent) - share) as wilson_top_half
    from joined
),

benchmark_variances as (
    select
        halves.evaluation_id,
        halves.benchmark,
        halves.n_independent,
        halves.floor,
        halves.clustered_variance as normalized_variance,
        halves.is_approximate or (halves.independent_share < 1 and question_variances.variance is null) as is_approximate,
        coalesce(question_variances.variance, halves.variance / halves.independent_share) as raw_variance,
        case
            when halves.is_clipped or halves.clustered_variance is null
                then greatest(halves.mover_floor_half, halves.wilson_floor_half)
            else halves.wilson_floor_half
        end as floor_half,
        case
            when halves.is_clipped or halves.clustered_variance is null
                then greatest(halves.mover_top_half, halves.wilson_top_half)
            else halves.wilson_top_half
        end as top_half
    from halves
    left join question_variances using (evaluation_id, benchmark)
)

select * from benchmark_variances
