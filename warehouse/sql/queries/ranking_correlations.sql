-- One row per suite and era with ranked models: how well an external ranking agrees. The first row is shown by default: with
-- common models, current, with the most of them. Parameters: $ranking, $suite, $era (null: all).
with
ranking_correlations as (
    select * from main.ranking_correlations
),

found as (
    select *
    from ranking_correlations
    where
        ranking = $ranking
        and suite = coalesce($suite, suite)
        and era = coalesce($era, era)
    order by n_common > 1 desc, is_current_era desc, n_common desc, suite asc, era asc
)

select * from found
