-- One row per suite, era, model, revision, precision, chat template, settings and source: the newest complete evaluation of the
-- revision's fingerprint known at a given time, whichever model's commit was evaluated. What was imported to supersede own runs
-- comes before them.
-- Parameter: $as_of (null: everything).
with
known as (
    select candidates.*
    from main.candidates as candidates
    where $as_of is null or candidates.known_at <= cast($as_of as timestamptz)
),

owned as (
    select
        *,
        bool_or(evaluated_model_id = model_id) over (
            partition by suite, era, model_id, fingerprint, precision, chat_template, settings
        ) as is_own
    from known
),

newest as (
    select
        * exclude (is_own, evaluated_model_id),
        case when not is_own then evaluated_model_id end as identical_to
    from owned
    qualify row_number() over (
        partition by suite, era, model_id, revision, precision, chat_template, settings, ranked_as
        order by source = 'run', finished_at desc nulls last, evaluation_id
    ) = 1
)

select * from newest
