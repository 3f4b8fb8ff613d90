-- One row per done evaluation with samples: the files that hold them, and a hash over what decides its derived rows: these
-- files as they are now, the metrics that its suite declares, and whether it is compared with another commit.
with
sample_files as (
    select * from lake.sample_files
),

done as (
    select evaluation_id from staging.outcomes
),

declared_metrics as (
    select * from staging.declared_metrics
),

declared as (
    select
        evaluation_id,
        bit_xor(hash(declared_metrics)) as declaration
    from declared_metrics
    group by evaluation_id
),

of_done as (
    select
        sample_files.evaluation_id,
        list(sample_files.file order by sample_files.file) as files,
        string_agg(sample_files.state, ' ' order by sample_files.file) as states
    from sample_files
    semi join done on sample_files.evaluation_id = done.evaluation_id
    group by sample_files.evaluation_id
),

sample_inputs as (
    select
        of_done.evaluation_id,
        of_done.files,
        sha256(
            concat_ws(
                ' ', of_done.files::varchar, of_done.states, declared.declaration, compared_evaluations.evaluation_id
            )
        ) as inputs
    from of_done
    left join declared on of_done.evaluation_id = declared.evaluation_id
    left join staging.compared_evaluations as compared_evaluations
        on of_done.evaluation_id = compared_evaluations.evaluation_id
)

select * from sample_inputs
