-- One row per request, model, revision, suite and settings that it evaluates.
with
targets as (
    select * from lake.request_targets
),

request_targets as (
    select *
    from targets
    qualify
        row_number() over (
            partition by request_id, model_id, revision, suite, precision, chat_template order by targets::varchar
        ) = 1
)

select * from request_targets
