-- One row per suite, era, model, revision, precision, chat template, settings and source: the complete evaluation that now
-- counts for the commit.
with
revision_scores as (
    select * from main.revision_scores_as_of(null)
)

select * from revision_scores
