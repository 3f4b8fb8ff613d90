-- One row per suite and benchmark that two models share, and one for the average: paired over the documents that both answered.
-- The difference is of normalized scores that are not clipped at the baseline, so it is a sum over documents. The influences of
-- documents with the same question are added before they are squared. The interval is clipped to the reach: the difference if
-- one model answers every question correctly and the other none. Parameters: $model_a, $model_b.
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
        main.exact_sum(points_a) as score_a,
        main.exact_sum(points_b) as score_b,
        case
            when count(influence) = count(*)
                then sqrt(main.exact_sum(pow(influence, 2)) * count(*) / nullif(count(*) - 1, 0))
        end as stderr,
        count(*) filter (where lead > 1e-9) as wins,
        count(*) filter (where lead < -1e-9) as losses
    from questions
    group by all
),

averages as (
    select
        benchmarks.suite,
        benchmarks.era,
        benchmarks.evaluation_a,
        benchmarks.evaluation_b,
        'average' as benchmark,
        max(position) + 1 as position,
        sum(n_questions)::bigint as n_questions,
        main.exact_mean(reach) as reach,
        main.exact_mean(score_a) as score_a,
        main.exact_mean(score_b) as score_b,
        case
            when count(benchmarks.stderr) = count(*) then sqrt(main.exact_sum(pow(benchmarks.stderr, 2))) / count(*)
        end as stderr,
        sum(wins)::bigint as wins,
        sum(losses)::bigint as losses
    from benchmarks
    group by benchmarks.suite, benchmarks.era, benchmarks.evaluation_a, benchmarks.evaluation_b
),

compared as (
    select * from benchmarks
    union all by name
    select * from averages
),

finished as (
    select
        * exclude (reach),
        score_a - score_b as difference,
        1.959963984540054 * stderr as margin,
        case when margin is not null then greatest(difference - margin, -reach) end as low,
        case when margin is not null then least(difference + margin, reach) end as high,
        case
            when benchmark != 'average' then main.sign_test(wins, losses)
            when stderr > 0 then main.normal_p_value(difference / stderr)
            when difference = 0 then 1
        end as p_value,
        n_questions - wins - losses as ties
    from compared
    order by suite, position
)

select * from finished
