-- One row per evaluation and task that its suite now declares: what the evaluation must have to be scored. The newest version
-- of the suite declares how a score is computed. Documents and shots are those of the version that the evaluation was run
-- with; eras separate different ones. `otherwise` says which other settings differ (null: none known).
with
evaluations as (
    select
        evaluation_id,
        suite,
        suite_version
    from staging.evaluations
),

definitions as (
    select * exclude (suite_version, suite_title, declared_at, benchmark_title) from staging.definitions
),

suites as (
    select * from staging.suites
),

compared as (
    select
        evaluations.evaluation_id,
        definitions.*,
        own.n_samples as own_samples,
        own.n_shot as own_shots,
        own.measurement as own_measurement
    from evaluations
    inner join definitions on evaluations.suite = definitions.suite
    left join suites as own
        on
            evaluations.suite = own.suite
            and evaluations.suite_version = own.suite_version
            and definitions.task = own.task
),

expected_tasks as (
    select
        * exclude (measurement, own_samples, own_shots, own_measurement) replace (
            coalesce(own_samples, n_samples) as n_samples,
            coalesce(own_shots, n_shot) as n_shot
        ),
        case
            when own_measurement != measurement then 'measured with ' || own_measurement || ' instead of ' || measurement
        end as otherwise
    from compared
)

select * from expected_tasks
