-- One row per evaluation with samples, task, metric and filter: the mean over the documents, and its sampling variance. A
-- document of several parts counts as one: the mean is linearized (Taylor). Values that are not fractions have neither. All sums
-- are of integers (multiples of 2^-30), so they are the same in any order.
with
samples as (
    select * from lake.samples
),

measured as (
    select
        evaluation_id,
        task,
        metric,
        filter,
        coalesce(value between 0 and 1 and weight between 1 and 10000, false) as is_fraction,
        case when is_fraction then weight end as parts,
        case when is_fraction then weight * value end as hits
    from samples
),

totals as (
    select
        evaluation_id,
        task,
        metric,
        filter,
        count(*) as n_documents,
        bool_and(is_fraction) as is_fraction,
        sum(cast(parts as bigint)) as parts,
        sum(cast(hits * 1073741824 as bigint)) / 1073741824 as hits,
        sum(cast(parts * parts as bigint)) as parts_squared,
        sum(cast(hits * parts * 1073741824 as bigint)) / 1073741824 as hits_parts,
        sum(cast(hits * hits * 1073741824 as bigint)) / 1073741824 as hits_squared
    from measured
    group by evaluation_id, task, metric, filter
),

means as (
    select
        *,
        hits / parts as mean,
        greatest(0, hits_squared - 2 * mean * hits_parts + pow(mean, 2) * parts_squared) / pow(parts, 2) as spread
    from totals
    where is_fraction
),

sample_variances as (
    select
        evaluation_id,
        task,
        metric,
        filter,
        n_documents,
        parts,
        mean,
        case when n_documents > 1 then spread * n_documents / (n_documents - 1) end as variance
    from means
)

select * from sample_variances
