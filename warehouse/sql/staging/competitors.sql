-- One row per suite, era and ranked evaluation: the values that decide its rank. Several rows of a ranking can share one
-- evaluation. `widening` corrects the interval of one difference for all differences of a model (Bonferroni; Mogstad, Romano,
-- Shaikh & Wilhelm 2024). `band` numbers competitors of an era with about equal upper half-widths (within 9%).
with
ranked as (
    select
        suite,
        era,
        evaluation_id,
        count(*) as n_rows
    from staging.ranked_revisions
    group by suite, era, evaluation_id
),

average_intervals as (
    select * from staging.average_intervals
),

measured as (
    select
        ranked.*,
        average_intervals.average,
        average_intervals.average_floor,
        average_intervals.floor_half,
        average_intervals.top_half,
        row_number() over () as number,
        dense_rank() over (
            order by ranked.suite, ranked.era, round(8 * log2(greatest(average_intervals.top_half, 1e-9)))
        ) as band
    from ranked
    inner join average_intervals on ranked.evaluation_id = average_intervals.evaluation_id
),

eras as (
    select
        suite,
        era,
        sum(n_rows) as n_ranked,
        1 - 0.025 / greatest(1, count(*) - 1) as probability
    from measured
    group by suite, era
),

-- A separate step, because normal_quantile repeats its argument a dozen times.
widened as (
    select
        *,
        main.normal_quantile(probability) / main.normal_quantile(0.975) as widening
    from eras
),

competitors as (
    select
        measured.*,
        widened.n_ranked,
        widened.widening
    from measured
    inner join widened on measured.suite = widened.suite and measured.era = widened.era
)

select * from competitors
