-- One row per suite with a current era: the one that its newest version declares, or, if none is declared, the era of the
-- evaluation that finished last.
with
eras as (
    select * from staging.eras
),

evaluation_eras as (
    select * from staging.evaluation_eras
),

evaluation_scores as (
    select * from staging.evaluation_scores
),

declared as (
    select
        suite,
        min(era) filter (where is_current) as era
    from eras
    group by suite
),

newest as (
    select
        evaluation_eras.suite,
        evaluation_eras.era
    from evaluation_eras
    inner join evaluation_scores on evaluation_eras.evaluation_id = evaluation_scores.evaluation_id
    anti join declared on evaluation_eras.suite = declared.suite
    qualify row_number() over (
        partition by evaluation_eras.suite
        order by evaluation_scores.finished_at desc nulls last, evaluation_eras.evaluation_id
    ) = 1
),

current_eras as (
    select * from declared
    union all by name
    select * from newest
)

select * from current_eras
