-- One row per suite, era, model, precision, chat template, settings and source: its newest complete revision,
-- ranked within suite and era.
with
ranked_revisions as (
    select * from staging.ranked_revisions
),

average_intervals as (
    select * from staging.average_intervals
),

rank_intervals as (
    select * from staging.rank_intervals
),

described as (
    select
        ranked_revisions.*,
        rank_intervals.rank_low,
        rank_intervals.rank_high,
        average_intervals.average_stderr,
        average_intervals.average_low,
        average_intervals.average_high,
        average_intervals.is_approximate
    from ranked_revisions
    left join average_intervals on ranked_revisions.evaluation_id = average_intervals.evaluation_id
    left join rank_intervals
        on
            ranked_revisions.suite = rank_intervals.suite
            and ranked_revisions.era = rank_intervals.era
            and ranked_revisions.evaluation_id = rank_intervals.evaluation_id
)

select * from described
