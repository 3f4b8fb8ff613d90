-- One row per evaluation and benchmark with a score: standard errors and 95% intervals, raw (0..1) and normalized (0..100).
-- Intervals of tasks are combined by their half-widths (MOVER, Zou & Donner 2008). Clipping at the baseline raises a mean of task
-- scores, so the lower half-width is subtracted from `floor`: the unclipped score, except for tasks clearly below their baseline.
with
variances as (
    select * from staging.benchmark_variances
    union all by name
    select * from staging.board_variances
),

measured as (
    select
        benchmark_values.evaluation_id,
        benchmark_values.benchmark,
        benchmark_values.raw,
        benchmark_values.normalized / 100 as normalized,
        benchmark_values.normalize,
        benchmark_values.benchmark_lower_bound,
        1 / (1 - benchmark_values.benchmark_lower_bound) as slope,
        variances.* exclude (evaluation_id, benchmark),
        main.wilson_low(benchmark_values.raw, variances.raw_variance, variances.n_independent) as raw_low,
        main.wilson_high(benchmark_values.raw, variances.raw_variance, variances.n_independent) as raw_high
    from staging.benchmark_values as benchmark_values
    inner join variances using (evaluation_id, benchmark)
    where benchmark_values.problem is null
),

shifted as (
    select
        * exclude (normalized_variance, floor, floor_half, top_half),
        raw_high < benchmark_lower_bound as is_below,
        case normalize when 'task' then normalized_variance else raw_variance * pow(slope, 2) end as normalized_variance,
        case normalize
            when 'task' then floor
            else if(is_below, 0, (raw - benchmark_lower_bound) * slope)
        end as floor,
        case normalize when 'task' then floor_half else if(is_below, 0, (raw - raw_low) * slope) end as floor_half,
        case normalize
            when 'task' then top_half
            else greatest(0, (raw_high - benchmark_lower_bound) * slope) - normalized
        end as top_half
    from measured
),

benchmark_intervals as (
    select
        evaluation_id,
        benchmark,
        is_approximate,
        sqrt(raw_variance) as stderr,
        raw_low,
        raw_high,
        100 * sqrt(normalized_variance) as normalized_stderr,
        100 * greatest(0, floor - floor_half) as normalized_low,
        100 * least(1, normalized + top_half) as normalized_high,
        100 * floor as floor,
        100 * floor_half as floor_half,
        100 * top_half as top_half
    from shifted
)

select * from benchmark_intervals
