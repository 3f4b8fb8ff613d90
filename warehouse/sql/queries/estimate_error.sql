-- One row: how far estimates were from what evaluations took, that ended since a time: |ratio - 1|, the median of them, and their
-- number. Parameter: $since.
with
estimates as (
    select * from main.estimates
    where finished_at >= $since
),

errors as (
    select
        median(abs(ratio - 1)) as median_error,
        count(ratio) as n_evaluations
    from estimates
)

select * from errors
