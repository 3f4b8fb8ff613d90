-- One row per sample of a done evaluation: a view of the lake's files, because samples are many. Every column is qualified with
-- its relation, because a macro replaces bare names by its parameters, even in views.
select samples.*
from lake.samples as samples
where samples.evaluation_id in (
    select done.evaluation_id from main.evaluations as done
    where done.state = 'done'
)
