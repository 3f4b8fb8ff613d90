-- One row per external ranking, suite and era with common models: Spearman's rho as the correlation of mean ranks, and
-- Kendall's tau-b as concordant minus discordant pairs over the geometric mean of the pairs that are not tied on either side.
-- Sums are of integers, so they are exact in any order of rows.
with
comparisons as (
    select * from main.ranking_comparisons
),

-- Mean ranks are doubled to be integers; `orders` numbers the two compared orders: millions of pairs are grouped by it.
placed as (
    select
        *,
        dense_rank() over (order by ranking, suite, era) as orders,
        count(*) over (partition by ranking, suite, era, their_place) as their_ties,
        count(*) over (partition by ranking, suite, era, our_place) as our_ties,
        2 * their_place + their_ties - 1 as theirs,
        2 * our_place + our_ties - 1 as ours
    from comparisons
),

by_rank as (
    select
        ranking,
        suite,
        era,
        orders,
        count(*) as n_common,
        count(*) * sum(theirs * ours) - sum(theirs) * sum(ours) as covariance,
        count(*) * sum(theirs * theirs) - sum(theirs) * sum(theirs) as their_variance,
        count(*) * sum(ours * ours) - sum(ours) * sum(ours) as our_variance,
        count(*) * count(*) - sum(their_ties) as twice_their_pairs,
        count(*) * count(*) - sum(our_ties) as twice_our_pairs
    from placed
    group by ranking, suite, era, orders
),

by_pair as (
    select
        better.orders,
        sum(sign(worse.our_place - better.our_place)) as concordance
    from placed as better
    inner join placed as worse on better.orders = worse.orders and better.their_place < worse.their_place
    group by better.orders
),

agreements as (
    select
        by_rank.ranking,
        by_rank.suite,
        by_rank.era,
        by_rank.n_common,
        by_rank.covariance / nullif(sqrt(by_rank.their_variance::double * by_rank.our_variance), 0) as spearman_rho,
        2 * by_pair.concordance / nullif(sqrt(by_rank.twice_their_pairs::double * by_rank.twice_our_pairs), 0)
            as kendall_tau_b
    from by_rank
    left join by_pair on by_rank.orders = by_pair.orders
)

select * from agreements
