-- One row: what has ended since $since, of own runs.
with
ended as (
    select * from main.attempts
    where ended_at >= $since
),

done as (
    select count(*) as n_done
    from main.evaluations
    where state = 'done' and source = 'run' and finished_at >= $since
),

last_runs as (
    select
        done.n_done,
        count(ended.evaluation_id) filter (where ended.state != 'completed') as n_failed_attempts,
        coalesce(main.exact_sum(ended.elapsed_s * ended.gpus), 0) / 3600 as gpu_hours
    from done
    left join ended on true
    group by done.n_done
)

select * from last_runs
