-- One row per suite, era, model, precision and chat template: its newest complete revision, ranked within suite and era.
with
ranked as (
    select * from main.ranks_as_of(null)
),

described as (
    select
        *,
        cast(null as bigint) as rank_low,
        cast(null as bigint) as rank_high,
        cast(null as double) as average_stderr
    from ranked
)

select * from described
