-- One row per suite, era, model, revision, precision and chat template: the newest complete evaluation of the revision's
-- fingerprint, whoever's commit was run.
with
revisions as (
    select * from staging.revisions
),

evaluation_scores as (
    select * from staging.evaluation_scores
),

evaluation_eras as (
    select * from staging.evaluation_eras
),

candidates as (
    select
        evaluation_scores.suite,
        evaluation_eras.era,
        revisions.*,
        evaluation_scores.precision,
        evaluation_scores.chat_template,
        evaluation_scores.evaluation_id,
        evaluation_scores.model_id as evaluated_model_id,
        evaluation_scores.average,
        evaluation_scores.finished_at,
        evaluation_scores.source
    from revisions
    inner join evaluation_scores on revisions.fingerprint = evaluation_scores.fingerprint
    inner join evaluation_eras on evaluation_scores.evaluation_id = evaluation_eras.evaluation_id
),

owned as (
    select
        *,
        bool_or(evaluated_model_id = model_id) over (
            partition by suite, era, model_id, fingerprint, precision, chat_template
        ) as is_own
    from candidates
),

newest as (
    select
        * exclude (is_own, evaluated_model_id),
        case when not is_own then evaluated_model_id end as identical_to
    from owned
    qualify row_number() over (
        partition by suite, era, model_id, revision, precision, chat_template
        order by finished_at desc nulls last, evaluation_id
    ) = 1
)

select * from newest
