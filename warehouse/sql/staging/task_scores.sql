-- One row per done evaluation, task, metric and filter. Rows of an evaluation without an outcome may be incomplete. An
-- import writes a row again when it gets samples: the one with samples counts.
with
reported as (
    select * from lake.task_scores
),

done as (
    select evaluation_id from staging.outcomes
),

of_done as (
    select reported.*
    from reported
    semi join done on reported.evaluation_id = done.evaluation_id
),

unique_rows as (
    select *
    from of_done
    qualify row_number() over (
        partition by evaluation_id, task, metric, filter
        order by
            samples_hash nulls last, value, stderr, n_samples, n_shot, task_version, doc_set_hash, dataset_sha, node, device
    ) = 1
)

select * from unique_rows
