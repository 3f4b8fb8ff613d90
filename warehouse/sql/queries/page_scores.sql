-- One row per complete evaluation and benchmark that it has: the score, and what made it, from the tasks. What differs between
-- the tasks of a benchmark, as after a resumed job, is listed.
with
declared as (
    select
        suite,
        suite_version,
        benchmark,
        any_value(benchmark_title) as benchmark_title,
        any_value(benchmark_position) as benchmark_position,
        any_value(measurement) as measurement,
        any_value(n_shot) as n_shot,
        list(distinct n_samples order by n_samples desc) as sizes,
        count(*) as n_tasks
    from main.suites
    group by suite, suite_version, benchmark
),

made as (
    select
        evaluation_id,
        benchmark,
        list(distinct dataset_id || '@' || dataset_sha order by dataset_id || '@' || dataset_sha) as datasets,
        list(distinct task_version order by task_version) as task_versions,
        list(distinct n_shot order by n_shot) as shots,
        list(distinct chat_template_hash order by chat_template_hash) as chat_template_hashes,
        list(distinct batch_size order by batch_size) as batch_sizes,
        list(distinct harness_version order by harness_version) as harness_versions,
        list(distinct library_versions order by library_versions) as library_versions,
        list(distinct node order by node) as nodes,
        list(distinct device order by device) as devices
    from main.task_scores
    where evaluation_id in (select candidates.evaluation_id from main.candidates as candidates)
    group by evaluation_id, benchmark
),

described as (
    select
        scores.evaluation_id,
        scores.benchmark,
        coalesce(declared.benchmark_title, scores.benchmark) as title,
        scores.raw,
        scores.normalized,
        scores.normalized_low,
        scores.normalized_high,
        scores.is_approximate,
        scores.n_samples,
        scores.cut_prompts,
        declared.measurement,
        declared.n_shot,
        declared.sizes,
        declared.n_tasks,
        made.datasets,
        made.task_versions,
        made.shots,
        made.chat_template_hashes,
        made.batch_sizes,
        made.harness_versions,
        made.library_versions,
        made.nodes,
        made.devices
    from main.benchmark_scores as scores
    left join declared
        on
            scores.suite = declared.suite
            and scores.suite_version = declared.suite_version
            and scores.benchmark = declared.benchmark
    left join made on scores.evaluation_id = made.evaluation_id and scores.benchmark = made.benchmark
    where scores.evaluation_id in (select candidates.evaluation_id from main.candidates as candidates)
    order by scores.evaluation_id, declared.benchmark_position, scores.benchmark
)

select * from described
