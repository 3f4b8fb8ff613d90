-- One row per competitor (the better one) and band of its suite and era (the worse ones): averages below `surely_above` are
-- significantly worse for every member of the band; averages at or above `perhaps_above` are not.
-- The two bounds have a small gap, so that rounding never decides a pair: it falls between them and is compared exactly.
with
competitors as (
    select * from staging.competitors
),

bands as (
    select
        suite,
        era,
        band,
        min(top_half) as top_half_from,
        max(top_half) as top_half_to
    from competitors
    where average is not null and top_half is not null
    group by suite, era, band
),

rank_bounds as (
    select
        better.number,
        better.n_rows,
        bands.band,
        better.average_floor - 1e-9
        - (1 + 1e-9) * better.widening * sqrt(pow(better.floor_half, 2) + pow(bands.top_half_to, 2)) as surely_above,
        better.average_floor + 1e-9
        - (1 - 1e-9) * better.widening * sqrt(pow(better.floor_half, 2) + pow(bands.top_half_from, 2)) as perhaps_above
    from competitors as better
    inner join bands on better.suite = bands.suite and better.era = bands.era
    where better.average_floor is not null and better.floor_half is not null
)

select * from rank_bounds
