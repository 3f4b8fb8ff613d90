-- One row per complete evaluation: standard error and 95% interval of its average, 0..100. Benchmarks are treated as
-- independent. On each side, the wider one counts of their combined half-widths (MOVER) and of Wilson's interval at the average's
-- effective size, as in benchmark_variances: near the ceiling the first alone is too narrow above.
with
evaluation_scores as (
    select * from staging.evaluation_scores
),

benchmark_intervals as (
    select * from staging.benchmark_intervals
),

joined as (
    select
        evaluation_id,
        bool_or(is_approximate) as is_approximate,
        case
            when count(normalized_stderr) = count(*) then sqrt(main.exact_sum(pow(normalized_stderr, 2))) / count(*)
        end as average_stderr,
        main.exact_mean(floor) as average_floor,
        sqrt(main.exact_sum(pow(floor_half, 2))) / count(*) as floor_half,
        sqrt(main.exact_sum(pow(top_half, 2))) / count(*) as top_half
    from benchmark_intervals
    group by evaluation_id
),

measured as (
    select
        joined.* exclude (floor_half, top_half),
        evaluation_scores.average,
        evaluation_scores.average / 100 as share,
        pow(joined.average_stderr / 100, 2) as share_variance,
        greatest(joined.floor_half, 100 * (share - main.wilson_low(share, share_variance, null))) as floor_half,
        greatest(joined.top_half, 100 * (main.wilson_high(share, share_variance, null) - share)) as top_half
    from joined
    inner join evaluation_scores using (evaluation_id)
),

average_intervals as (
    select
        * exclude (share, share_variance),
        greatest(0, average_floor - floor_half) as average_low,
        least(100, average + top_half) as average_high
    from measured
)

select * from average_intervals
