-- One row per model, revision and complete evaluation of the revision's fingerprint, whichever model's commit was evaluated.
-- `leaderboard`, `history` and `leaderboard_as_of` select from these rows.
-- A commit is known when it is discovered or evaluated, whichever comes first (an import may be discovered years later).
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

current_eras as (
    select * from staging.current_eras
),

first_scores as (
    select
        model_id,
        revision,
        min(finished_at) as first_finished_at
    from evaluation_scores
    group by model_id, revision
),

candidates as (
    select
        evaluation_scores.suite,
        evaluation_eras.era,
        current_eras.era is not null as is_current_era,
        revisions.*,
        evaluation_scores.precision,
        evaluation_scores.chat_template,
        evaluation_scores.evaluation_id,
        evaluation_scores.model_id as evaluated_model_id,
        evaluation_scores.average,
        evaluation_scores.cut_prompts,
        evaluation_scores.finished_at,
        evaluation_scores.source,
        case
            when evaluation_scores.finished_at is not null then greatest(
                evaluation_scores.finished_at, least(revisions.discovered_at, first_scores.first_finished_at)
            )
        end as known_at
    from revisions
    inner join evaluation_scores on revisions.fingerprint = evaluation_scores.fingerprint
    inner join evaluation_eras on evaluation_scores.evaluation_id = evaluation_eras.evaluation_id
    left join current_eras
        on evaluation_scores.suite = current_eras.suite and evaluation_eras.era = current_eras.era
    left join first_scores
        on
            revisions.model_id = first_scores.model_id
            and revisions.revision is not distinct from first_scores.revision
)

select * from candidates
