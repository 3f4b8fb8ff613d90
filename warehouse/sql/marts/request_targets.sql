-- One row per request, model, revision and suite that it evaluates.
with
targets as (
    select * from lake.request_targets
),

request_targets as (
    select *
    from targets
    qualify row_number() over (partition by request_id, model_id, revision, suite order by targets::varchar) = 1
)

select * from request_targets
