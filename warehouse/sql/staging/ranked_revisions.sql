-- One row per ranked suite, era, model, precision, chat template, settings and source: its newest complete revision and its rank.
with
ranked_revisions as (
    select * from main.ranked_revisions_as_of(null)
)

select * from ranked_revisions
