-- One row per suite and benchmark that two models share, and one for the average: paired over the documents that both answered.
-- The difference is of normalized scores that are not clipped at the baseline, so it is a sum over documents. The influences of
-- documents with the same question are added before they are squared. Interval and p-value come from this difference, so they
-- agree (see paired_z). The interval is clipped to the reach: the difference if one model answers every question correctly and
-- the other none. Parameters: $model_a, $model_b.
with
effects as (
    select * from main.paired_effects($model_a, $model_b)
),

questions as (
    select
        suite,
        era,
        benchmark,
        position,
        evaluation_a,
        evaluation_b,
        question,
        main.exact_sum(points) as points,
        main.exact_sum(points_a) as points_a,
        main.exact_sum(points_b) as points_b,
        case when count(influence) = count(*) then main.exact_sum(influence) end as influence,
        main.exact_sum(weight * (value_a - value_b)) as lead
    from effects
    group by suite, era, benchmark, position, evaluation_a, evaluation_b, question
),

benchmarks as (
    select
        * exclude (question, points, points_a, points_b, influence, lead),
        count(*) as n_questions,
        main.exact_sum(points) as reach,
        main.exact_sum(pow(points, 2)) as points_squared,
        main.exact_sum(points_a) as score_a,
        main.exact_sum(points_b) as score_b,
        case when count(influence) = count(*) then main.exact_sum(pow(influence, 2)) end as spread,
        spread * count(*) / nullif(count(*) - 1, 0) as variance,
        count(*) filter (where lead > 1e-9) as wins,
        count(*) filter (where lead < -1e-9) as losses
    from questions
    group by all
),

averages as (
    select
        suite,
        era,
        evaluation_a,
        evaluation_b,
        'average' as benchmark,
        max(position) + 1 as position,
        sum(n_questions)::bigint as n_questions,
        main.exact_mean(reach) as reach,
        main.exact_sum(points_squared) / pow(count(*), 2) as points_squared,
        main.exact_mean(score_a) as score_a,
        main.exact_mean(score_b) as score_b,
        case when count(spread) = count(*) then main.exact_sum(spread) / pow(count(*), 2) end as spread,
        case when count(variance) = count(*) then main.exact_sum(variance) / pow(count(*), 2) end as variance,
        sum(wins)::bigint as wins,
        sum(losses)::bigint as losses
    from benchmarks
    group by suite, era, evaluation_a, evaluation_b
),

together as (
    select * from benchmarks
    union all by name
    select * from averages
),

compared as (
    select
        *,
        benchmark = 'average' as is_average,
        score_a - score_b as difference,
        pow(reach, 2) / points_squared as size
    from together
),

tested as (
    select
        *,
        sqrt(variance) as stderr,
        difference * size / (size + 2) as center,
        main.paired_margin(difference, reach, size, spread) as margin,
        -- The quantiles of the normal distribution at 97.5% and 80%.
        (1.959963984540054 + 0.8416212335729143) * sqrt(main.paired_variance(difference, reach, size, spread))
            as detectable_difference,
        main.normal_p_value(main.paired_z(difference, reach, size, spread)) as p_value,
        case when not is_average then main.sign_test(wins, losses) end as mcnemar_p
    from compared
),

-- Holm (1979): the smallest p-value counts as often as there are benchmarks, the next one once less, and so on.
stepped as (
    select
        *,
        count(p_value) over benchmarks_of_suite as n_tests,
        (n_tests + 1 - row_number() over (benchmarks_of_suite order by p_value nulls last, position)) * p_value as step
    from tested
    window benchmarks_of_suite as (partition by suite, is_average)
),

adjusted as (
    select
        *,
        case
            when p_value is not null and not is_average
                then least(1, max(step) over (partition by suite, is_average order by p_value nulls last, position))
        end as holm_p
    from stepped
),

finished as (
    select
        *,
        case when margin is not null then greatest(center - margin, -reach) end as low,
        case when margin is not null then least(center + margin, reach) end as high,
        n_questions - wins - losses as ties
    from adjusted
    order by suite, position
)

select * from finished
