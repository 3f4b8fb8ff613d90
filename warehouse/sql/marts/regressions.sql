-- One row per model, setting, benchmark (or `average`) and commit that scored significantly worse than the complete commit before
-- it. Commits with samples of the same documents are paired by question, as in compare: their answers agree on most questions, so
-- much smaller drops are found. Other ones are treated as independent, which overstates the noise. Within a commit p-values are
-- adjusted by Holm (1979); a night lists commits by Benjamini & Hochberg (1995), and of those the benchmarks that pass the same
-- threshold (Benjamini & Bogomolov 2014): of all that it lists, 5% are expected to be due to chance.
with
commit_steps as (
    select * from staging.commit_steps
),

scores as (
    select
        benchmark_scores.evaluation_id,
        benchmark_scores.benchmark,
        benchmark_scores.normalized as score,
        pow(benchmark_scores.normalized_stderr, 2) as variance,
        benchmark_scores.is_approximate,
        influences.* exclude (evaluation_id, benchmark)
    from main.benchmark_scores as benchmark_scores
    left join derived.question_influences as influences using (evaluation_id, benchmark)
),

pairs as (
    select
        commit_steps.*,
        after.benchmark,
        after.score,
        before.score as score_before,
        after.is_approximate or before.is_approximate as is_approximate,
        coalesce(
            not after.is_approximate and not before.is_approximate
            and after.documents = before.documents
            and len(after.influences) = len(before.influences),
            false
        ) as is_paired,
        after.reach,
        after.points_squared,
        len(after.influences) as n_questions,
        case when is_paired then pow(list_distance(after.influences, before.influences), 2) end as spread,
        after.variance + before.variance as independent_variance
    from commit_steps
    inner join scores as after on commit_steps.evaluation_id = after.evaluation_id
    inner join scores as before
        on commit_steps.evaluation_before = before.evaluation_id and after.benchmark = before.benchmark
),

benchmarks as (
    select
        *,
        case when is_paired then spread * n_questions / nullif(n_questions - 1, 0) else independent_variance end as variance
    from pairs
),

averages as (
    select
        benchmarks.* exclude (
            benchmark, score, score_before, is_approximate, is_paired, reach, points_squared, n_questions, spread,
            independent_variance, variance
        ),
        'average' as benchmark,
        main.exact_mean(score) as score,
        main.exact_mean(score_before) as score_before,
        bool_or(is_approximate) as is_approximate,
        bool_and(is_paired) as is_paired,
        main.exact_mean(reach) as reach,
        main.exact_sum(points_squared) / pow(count(*), 2) as points_squared,
        case when bool_and(is_paired) then main.exact_sum(spread) / pow(count(*), 2) end as spread,
        case when count(variance) = count(*) then main.exact_sum(variance) / pow(count(*), 2) end as variance
    from benchmarks
    group by all
),

scored as (
    select * from benchmarks
    union all by name
    select * from averages
),

tested as (
    select
        *,
        sqrt(variance) as change_stderr,
        score - score_before as change,
        pow(reach, 2) / points_squared as size,
        case
            when change >= 0 and variance is not null then 1
            when is_paired then main.normal_p_value(main.paired_z(change, reach, size, spread))
            when variance > 0 then main.normal_p_value(change / change_stderr)
        end as p_value
    from scored
),

stepped as (
    select
        *,
        (count(p_value) over commits + 1 - row_number() over (commits order by p_value nulls last, benchmark)) * p_value as step
    from tested
    window commits as (partition by suite, era, model_id, precision, chat_template, settings, ranked_as, revision)
),

-- A night is from noon to noon.
adjusted as (
    select
        *,
        (finished_at at time zone 'UTC' - interval 12 hours)::date as night,
        case when p_value is not null then least(1, max(step) over (commits order by p_value nulls last, benchmark)) end as holm_p
    from stepped
    window commits as (partition by suite, era, model_id, precision, chat_template, settings, ranked_as, revision)
),

commits as (
    select
        night,
        min(holm_p) as commit_p
    from adjusted
    where p_value is not null
    group by suite, era, model_id, precision, chat_template, settings, ranked_as, revision, night
),

levels as (
    select
        *,
        0.05 * row_number() over (partition by night order by commit_p) / count(*) over (partition by night) as level
    from commits
),

thresholds as (
    select
        night,
        max(level) as threshold
    from levels
    where commit_p <= level
    group by night
),

regressions as (
    select
        adjusted.*,
        thresholds.threshold
    from adjusted
    inner join thresholds on adjusted.night is not distinct from thresholds.night
    where adjusted.change < 0 and adjusted.holm_p <= thresholds.threshold
)

select * from regressions
