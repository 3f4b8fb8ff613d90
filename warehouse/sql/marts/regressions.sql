-- One row per model, setting, benchmark (or `average`) and commit that scored significantly worse than
-- the complete commit before it: by more than 1.96 standard errors of the difference (95%, not corrected for multiple
-- comparisons, so some are due to chance). The two commits are treated as independent, which overstates the noise, because they
-- answered the same documents. The error of the average treats the benchmarks as independent.
with
-- Only models with more than one commit; most have one.
revision_scores as (
    select *
    from staging.revision_scores
    qualify count(*) over (partition by suite, era, model_id, precision, chat_template, settings, ranked_as) > 1
),

benchmark_scores as (
    select
        evaluation_id,
        benchmark,
        normalized as score,
        normalized_stderr as stderr,
        is_approximate
    from main.benchmark_scores
),

averages as (
    select
        evaluation_id,
        'average' as benchmark,
        main.exact_mean(score) as score,
        case when count(stderr) = count(*) then sqrt(main.exact_sum(stderr * stderr)) / count(*) end as stderr,
        bool_or(is_approximate) as is_approximate
    from benchmark_scores
    group by evaluation_id
),

scores as (
    select * from benchmark_scores
    union all by name
    select * from averages
),

steps as (
    select
        revision_scores.*,
        scores.benchmark,
        scores.score,
        lag(revision_scores.revision) over commits as revision_before,
        lag(scores.score) over commits as score_before,
        lag(scores.evaluation_id) over commits as evaluation_before,
        sqrt(pow(scores.stderr, 2) + pow(lag(scores.stderr) over commits, 2)) as change_stderr,
        scores.score - score_before as change,
        scores.is_approximate or lag(scores.is_approximate) over commits as is_approximate
    from revision_scores
    inner join scores on revision_scores.evaluation_id = scores.evaluation_id
    window commits as (
        partition by
            revision_scores.suite, revision_scores.era, revision_scores.model_id, revision_scores.precision,
            revision_scores.chat_template, revision_scores.settings, revision_scores.ranked_as, scores.benchmark
        order by
            revision_scores.committed_at nulls first, revision_scores.discovered_at, revision_scores.finished_at,
            revision_scores.revision
    )
),

regressions as (
    select * from steps
    where change < -1.959963984540054 * change_stderr and evaluation_id != evaluation_before
)

select * from regressions
