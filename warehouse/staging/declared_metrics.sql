-- One row per evaluation of a suite, task and declared metric, with the task's weight in the benchmark's raw score.
with
evaluations as (
    select
        evaluation_id,
        suite,
        suite_version
    from staging.evaluations
),

suite_metrics as (
    select * from staging.suite_metrics
),

declared_metrics as (
    select
        evaluations.evaluation_id,
        suite_metrics.* exclude (suite, suite_version)
    from evaluations
    inner join suite_metrics using (suite, suite_version)
)

select * from declared_metrics
