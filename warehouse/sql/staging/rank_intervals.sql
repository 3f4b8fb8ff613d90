-- One row per suite, era and ranked evaluation: the best and the worst rank consistent with the noise. A model is better than
-- another if the interval of the difference of their averages is above 0. The intervals are corrected for all differences of a
-- model (see competitors); Monte Carlo ranks are not valid among near-ties.
-- Answers to the same documents are correlated, which makes true differences more certain than this: the ranks are conservative.
-- There are millions of pairs: those that rank_bounds decides are counted in bulk, only the others are compared one by one.
with
competitors as (
    select * from staging.competitors
),

rank_bounds as (
    select * from staging.rank_bounds
),

worse as (
    select
        *,
        row_number() over averages as place,
        count(*) over averages as place_to,
        sum(n_rows) over averages as n_rows_to
    from competitors
    where average is not null and top_half is not null
    window averages as (partition by band order by average)
),

better as (
    select
        *,
        sum(n_rows) over (partition by band order by surely_above desc) as n_rows_from
    from rank_bounds
),

zones as (
    select
        rank_bounds.number,
        rank_bounds.band,
        coalesce(sure.n_rows_to, 0) as n_sure,
        coalesce(sure.place_to, 0) as place_sure,
        coalesce(perhaps.place_to, 0) as place_perhaps
    from rank_bounds
    asof left join worse as sure on rank_bounds.band = sure.band and rank_bounds.surely_above > sure.average
    asof left join worse as perhaps on rank_bounds.band = perhaps.band and rank_bounds.perhaps_above > perhaps.average
),

doubts as (
    select
        number,
        band,
        unnest(range(place_sure + 1, place_perhaps + 1)) as place
    from zones
),

differences as (
    select
        better.number as better,
        worse.number as worse,
        better.n_rows as n_better,
        worse.n_rows as n_worse
    from doubts
    inner join competitors as better on doubts.number = better.number
    inner join worse on doubts.band = worse.band and doubts.place = worse.place
    where
        better.average_floor - worse.average
        > better.widening * sqrt(pow(better.floor_half, 2) + pow(worse.top_half, 2))
),

found as (
    select
        number,
        n_sure as n_worse,
        0 as n_better
    from zones
    union all
    select
        worse.number,
        0 as n_worse,
        better.n_rows_from as n_better
    from worse
    asof inner join better on worse.band = better.band and worse.average < better.surely_above
    union all
    select
        better as number,
        n_worse,
        0 as n_better
    from differences
    union all
    select
        worse as number,
        0 as n_worse,
        n_better
    from differences
),

counts as (
    select
        number,
        sum(n_worse) as n_worse,
        sum(n_better) as n_better
    from found
    group by number
),

rank_intervals as (
    select
        competitors.suite,
        competitors.era,
        competitors.evaluation_id,
        (1 + coalesce(counts.n_better, 0))::bigint as rank_low,
        (competitors.n_ranked - coalesce(counts.n_worse, 0))::bigint as rank_high
    from competitors
    left join counts on competitors.number = counts.number
)

select * from rank_intervals
