-- One row per external ranking that has models in common with ours, where it has the most: current eras first.
-- Parameters: $suite, $era (null: all).
with
correlations as (
    select *
    from main.ranking_correlations
    where n_common > 0 and suite = coalesce($suite, suite) and era = coalesce($era, era)
),

best as (
    select
        ranking,
        suite,
        era
    from correlations
    qualify row_number() over (partition by ranking order by is_current_era desc, n_common desc, suite, era) = 1
    order by n_common desc, ranking
)

select * from best
