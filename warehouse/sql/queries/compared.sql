-- The model and revision that a name refers to in a comparison. A copy is compared by an evaluation of another model.
-- Parameters: $name, as given; $evaluation_id, the compared one.
with
meant as (
    select
        1 as preference,
        model_id,
        revision
    from main.leaderboard
    where evaluation_id = $evaluation_id and model_id = $name
    union all
    select
        2 as preference,
        model_id,
        revision
    from main.candidates
    where
        evaluation_id = $evaluation_id
        and contains($name, '@')
        and starts_with(model_id || '@' || revision, $name)
    union all
    select
        3 as preference,
        model_id,
        revision
    from main.evaluations
    where evaluation_id = $evaluation_id
)

select
    model_id,
    revision
from meant
order by preference
limit 1
