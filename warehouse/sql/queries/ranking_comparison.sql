-- One row per common model of an external ranking and ours, largest difference of ranks first.
-- Parameters: $ranking, $suite, $era.
with
ranking_comparisons as (
    select * from main.ranking_comparisons
),

compared as (
    select
        model_id,
        model_name,
        their_score,
        their_rank,
        our_rank,
        our_average,
        their_place,
        our_place,
        shift
    from ranking_comparisons
    where ranking = $ranking and suite = $suite and era = $era
    order by abs(shift) desc, their_rank asc, model_id asc
)

select * from compared
