-- One row per external ranking, suite and era with ranked models: how well the two rankings agree. The intervals use Fisher's z;
-- they are not valid for perfect agreement.
with
rankings as (
    select
        ranking,
        published_at,
        count(*) as n_theirs,
        count(model_id) as n_matched
    from main.rankings
    where is_newest
    group by ranking, published_at
),

leaderboard as (
    select
        suite,
        era,
        is_current_era,
        count(distinct model_id) as n_ours
    from main.leaderboard
    group by suite, era, is_current_era
),

agreements as (
    select * from staging.ranking_agreements
),

joined as (
    select
        rankings.*,
        leaderboard.*,
        coalesce(agreements.n_common, 0) as n_common,
        agreements.spearman_rho,
        agreements.kendall_tau_b
    from rankings
    cross join leaderboard
    left join agreements
        on
            rankings.ranking = agreements.ranking
            and leaderboard.suite = agreements.suite
            and leaderboard.era = agreements.era
),

spread as (
    select
        *,
        case
            when n_common > 3 and abs(spearman_rho) < 1
                then 1.959964 * sqrt((1 + spearman_rho ^ 2 / 2) / (n_common - 3))
        end as spearman_spread,
        case when n_common > 4 and abs(kendall_tau_b) < 1 then 1.959964 * sqrt(0.437 / (n_common - 4)) end as kendall_spread
    from joined
),

correlations as (
    select
        * exclude (spearman_spread, kendall_spread),
        tanh(atanh(spearman_rho) - spearman_spread) as spearman_low,
        tanh(atanh(spearman_rho) + spearman_spread) as spearman_high,
        tanh(atanh(kendall_tau_b) - kendall_spread) as kendall_low,
        tanh(atanh(kendall_tau_b) + kendall_spread) as kendall_high
    from spread
)

select * from correlations
