-- One row per evaluation of an imported board and benchmark: like benchmark_variances, but approximate. A board has no tasks:
-- every document is treated as right or wrong with the benchmark's raw score as probability, which gives the largest variance.
-- Clipping every task at its baseline raises the published score of a model that guesses, so the lower end of the interval starts
-- from the score above the mean baseline, if that is less.
with
benchmark_values as (
    select * from staging.benchmark_values
    where problem is null and published is not null
),

definitions as (
    select
        *,
        case aggregate
            when 'pooled' then n_samples / sum(n_samples) over (partition by suite, benchmark)
            else 1 / count(*) over (partition by suite, benchmark)
        end as task_weight,
        1 / (1 - task_lower_bound) as slope
    from staging.definitions
),

declared as (
    select
        suite,
        benchmark,
        sum(n_samples) * min(independent_share) as n_independent,
        main.exact_sum(task_weight * task_lower_bound) as mean_lower_bound,
        main.exact_sum(pow(task_weight, 2) / n_samples) / min(independent_share) as share,
        main.exact_sum(pow(task_weight * slope, 2) / n_samples) / min(independent_share) as normalized_share
    from definitions
    group by suite, benchmark
),

variances as (
    select
        benchmark_values.evaluation_id,
        benchmark_values.benchmark,
        benchmark_values.raw,
        benchmark_values.normalized,
        declared.n_independent,
        (benchmark_values.raw - declared.mean_lower_bound) / (1 - declared.mean_lower_bound) as linear,
        sqrt(declared.normalized_share / declared.share) as slope,
        benchmark_values.raw * (1 - benchmark_values.raw) * declared.share as raw_variance,
        benchmark_values.raw * (1 - benchmark_values.raw) * declared.normalized_share as normalized_variance
    from benchmark_values
    inner join declared using (suite, benchmark)
),

board_variances as (
    select
        evaluation_id,
        benchmark,
        n_independent,
        least(normalized / 100, linear) as floor,
        true as is_approximate,
        raw_variance,
        normalized_variance,
        slope * (raw - main.wilson_low(raw, raw_variance, n_independent)) as floor_half,
        slope * (main.wilson_high(raw, raw_variance, n_independent) - raw) as top_half
    from variances
)

select * from board_variances
