-- One row per attempt state and cause of failures: how many evaluations, and the log of the last one. A cause is a reason in
-- which the parts that differ between evaluations (models, paths, hashes, numbers) are replaced by placeholders.
with
failures as (
    select
        *,
        replace(replace(coalesce(reason, 'unknown reason'), model_id, '<model>'), revision, '<revision>') as named
    from main.failures
),

normalized as (
    select
        *,
        regexp_replace(named, '(/[\w.@-]+){2,}', '<path>', 'g') as without_paths,
        regexp_replace(without_paths, '\b[0-9a-f]*\d[0-9a-f]{6,}\b', '<hash>', 'g') as without_hashes,
        regexp_replace(without_hashes, '\d+(\.\d+)*', 'N', 'g') as cause
    from failures
),

counted as (
    select
        *,
        count(*) over causes as n_evaluations,
        count(distinct model_id) over causes as n_models,
        count(*) filter (where state = 'open') over causes as n_open,
        max(ended_at) over causes as last_ended_at
    from normalized
    window causes as (partition by attempt_state, cause)
),

failure_causes as (
    select * from counted
    qualify row_number() over (partition by attempt_state, cause order by ended_at desc, evaluation_id) = 1
)

select * from failure_causes
