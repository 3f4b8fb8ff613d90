-- One row per complete commit of a model, setting and benchmark: its scores in a suite, oldest commit first.
-- Parameters: $model_id, $suite.
with
history as (
    select * from main.history
),

of_model as (
    select history.*
    from history
    where history.model_id = $model_id and history.suite = $suite
    order by
        history.era, history.precision, history.chat_template, history.settings, history.ranked_as,
        history.committed_at nulls first, history.revision, history.benchmark
)

select * from of_model
