-- One row per ranked suite, era, model, precision and chat template: its newest complete revision, with its rank.
with
ranked_revisions as (
    select * from main.ranked_revisions_as_of(null)
)

select * from ranked_revisions
