-- One row per external ranking, suite and era with models in common: Spearman's rho as the correlation of mean ranks, and
-- Kendall's tau-b as concordant less discordant pairs over the geometric mean of the pairs that are no tie on either side.
with
comparisons as (
    select * from main.ranking_comparisons
),

mean_ranks as (
    select
        ranking,
        suite,
        era,
        their_place + (count(*) over (partition by ranking, suite, era, their_place) - 1) / 2 as their_mean_rank,
        our_place + (count(*) over (partition by ranking, suite, era, our_place) - 1) / 2 as our_mean_rank
    from comparisons
),

by_rank as (
    select
        ranking,
        suite,
        era,
        count(*) as n_common,
        corr(their_mean_rank, our_mean_rank) as rho
    from mean_ranks
    group by ranking, suite, era
),

pairs as (
    select
        one.ranking,
        one.suite,
        one.era,
        sign(one.their_place - other.their_place) as theirs,
        sign(one.our_place - other.our_place) as ours
    from comparisons as one
    inner join comparisons as other
        on
            one.ranking = other.ranking
            and one.suite = other.suite
            and one.era = other.era
            and one.model_id < other.model_id
),

by_pair as (
    select
        ranking,
        suite,
        era,
        sum(theirs * ours)
        / nullif(sqrt(count(*) filter (where theirs != 0)) * sqrt(count(*) filter (where ours != 0)), 0) as tau
    from pairs
    group by ranking, suite, era
),

agreements as (
    select
        by_rank.ranking,
        by_rank.suite,
        by_rank.era,
        by_rank.n_common,
        case when isfinite(by_rank.rho) then least(greatest(by_rank.rho, -1), 1) end as spearman_rho,
        case when isfinite(by_pair.tau) then least(greatest(by_pair.tau, -1), 1) end as kendall_tau_b
    from by_rank
    left join by_pair
        on by_rank.ranking = by_pair.ranking and by_rank.suite = by_pair.suite and by_rank.era = by_pair.era
)

select * from agreements
