-- One row per complete evaluation: standard error and 95% interval of its average, 0..100. Benchmarks are treated as
-- independent, and their intervals are combined by their half-widths, as in benchmark_intervals.
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

average_intervals as (
    select
        joined.*,
        evaluation_scores.average,
        greatest(0, joined.average_floor - joined.floor_half) as average_low,
        least(100, evaluation_scores.average + joined.top_half) as average_high
    from joined
    inner join evaluation_scores using (evaluation_id)
)

select * from average_intervals
