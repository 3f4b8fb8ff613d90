-- One row per model, revision and complete evaluation of the revision's fingerprint, whichever model's commit was evaluated.
-- `leaderboard`, `history` and `leaderboard_as_of` select from these rows.
-- Attributes are those of the commit, then those of the imported row itself; only what both lack is taken from other rows.
-- A commit is known when it is discovered or evaluated, whichever comes first (an import may be discovered years later). What has
-- no time of evaluation is known from its import on.
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

imports as (
    select * from staging.imports
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
        revisions.* replace (
            coalesce(commits.params_b, own.params_b, revisions.params_b) as params_b,
            coalesce(commits.model_type, own.model_type, revisions.model_type) as model_type,
            coalesce(commits.license, own.license, revisions.license) as license,
            case
                when own.is_merged is null and own.model_type is null then revisions.is_merged
                else own.is_merged or coalesce(commits.model_type, own.model_type) = 'merge'
            end as is_merged,
            coalesce(own.is_flagged, revisions.is_flagged) as is_flagged
        ),
        evaluation_scores.precision,
        evaluation_scores.chat_template,
        evaluation_scores.settings,
        case when imports.supersedes then 'run' else evaluation_scores.source end as ranked_as,
        evaluation_scores.evaluation_id,
        evaluation_scores.request_id,
        evaluation_scores.model_id as evaluated_model_id,
        evaluation_scores.average,
        evaluation_scores.cut_prompts,
        evaluation_scores.finished_at,
        evaluation_scores.source,
        case
            when evaluation_scores.finished_at is null then imports.imported_at
            else greatest(
                evaluation_scores.finished_at, least(revisions.discovered_at, first_scores.first_finished_at)
            )
        end as known_at
    from revisions
    inner join evaluation_scores on revisions.fingerprint = evaluation_scores.fingerprint
    inner join evaluation_eras on evaluation_scores.evaluation_id = evaluation_eras.evaluation_id
    left join current_eras
        on evaluation_scores.suite = current_eras.suite and evaluation_eras.era = current_eras.era
    left join imports on evaluation_scores.evaluation_id = imports.evaluation_id
    left join imports as own
        on evaluation_scores.evaluation_id = own.evaluation_id and revisions.model_id = own.model_id
    left join staging.commits as commits
        on revisions.model_id = commits.model_id and revisions.revision = commits.revision
    left join first_scores
        on
            revisions.model_id = first_scores.model_id
            and revisions.revision is not distinct from first_scores.revision
)

select * from candidates
