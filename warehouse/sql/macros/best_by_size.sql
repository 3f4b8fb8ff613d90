-- One row per non-empty size bracket: its best-ranked model. A bracket starts above one bound and ends at the next, the last
-- one has no end. Models of unknown size are in no bracket. Parameters: $suite, $era, $as_of, $bounds (billions of parameters).
with
models as (
    select *
    from main.top_models($suite, n := null, era := $era, as_of := $as_of)
    where params_b is not null
),

ends as (
    select cast(unnest($bounds) as double) as bound
),

brackets as (
    select
        coalesce(lag(bound) over (order by bound), 0) as above_b,
        bound as up_to_b
    from ends
    union all by name
    select max(bound) as above_b
    from ends
),

sorted_in as (
    select
        brackets.*,
        models.*,
        count(*) over (partition by brackets.above_b) as n_models
    from models
    inner join brackets
        on models.params_b > brackets.above_b and coalesce(models.params_b <= brackets.up_to_b, true)
),

best as (
    select *
    from sorted_in
    qualify row_number() over (partition by above_b order by rank) = 1
    order by above_b
)

select * from best
