-- One row per suite, era and ranked evaluation: the best and the worst place that noise does not exclude. A model is better than
-- another where the interval of the difference of their averages lies above 0. The intervals hold for all differences of a
-- model at once (Bonferroni; Mogstad, Romano, Shaikh & Wilhelm 2024), which Monte Carlo ranks do not among near-ties.
-- Answers to the same documents go together, which makes true differences more certain than this: the places are cautious.
with
ranked_revisions as (
    select * from staging.ranked_revisions
),

average_intervals as (
    select * from staging.average_intervals
),

competitors as (
    select
        ranked_revisions.suite,
        ranked_revisions.era,
        ranked_revisions.evaluation_id,
        count(*) as n_rows,
        sum(count(*)) over eras as n_ranked,
        any_value(average_intervals.average) as average,
        any_value(average_intervals.average_floor) as average_floor,
        any_value(average_intervals.floor_half) as floor_half,
        any_value(average_intervals.top_half) as top_half,
        main.normal_quantile(1 - 0.025 / greatest(1, count(*) over eras - 1)) / main.normal_quantile(0.975) as widening
    from ranked_revisions
    inner join average_intervals using (evaluation_id)
    group by ranked_revisions.suite, ranked_revisions.era, ranked_revisions.evaluation_id
    window eras as (partition by ranked_revisions.suite, ranked_revisions.era)
),

numbered as (
    select
        *,
        row_number() over (order by suite, era, evaluation_id) as number
    from competitors
),

differences as (
    select
        better.number as better,
        worse.number as worse,
        better.n_rows as n_better,
        worse.n_rows as n_worse
    from numbered as better
    inner join numbered as worse
        on
            better.suite = worse.suite
            and better.era = worse.era
            and better.average_floor - worse.average
            > better.widening * sqrt(pow(better.floor_half, 2) + pow(worse.top_half, 2))
),

beaten_by as (
    select
        worse as number,
        sum(n_better) as n_rows
    from differences
    group by worse
),

beats as (
    select
        better as number,
        sum(n_worse) as n_rows
    from differences
    group by better
),

rank_intervals as (
    select
        numbered.suite,
        numbered.era,
        numbered.evaluation_id,
        (1 + coalesce(beaten_by.n_rows, 0))::bigint as rank_low,
        (numbered.n_ranked - coalesce(beats.n_rows, 0))::bigint as rank_high
    from numbered
    left join beaten_by using (number)
    left join beats using (number)
)

select * from rank_intervals
