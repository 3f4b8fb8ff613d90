-- One row per model, precision and chat template of one era that passes the filters, best first; a null filter passes all rows.
-- An unknown size passes no size filter; a model that is not known to be a merge, flagged or gone counts as none of these.
-- Parameters: $suite, $n (null: all), $era (null: the current one), $as_of, $min_params_b (more than), $max_params_b (at most),
-- $model_type, $precision, $license, $organization, $country, $with_merges, $with_flagged, $with_unavailable, $with_gated,
-- $with_copies, $models and $sources: runs of these models, and all that is ranked as these sources.
with
ranks as (
    select * from main.ranks_as_of($as_of)
),

selected as (
    select ranks.*
    from ranks
    where
        ranks.suite = $suite
        and case when $era is null then ranks.is_current_era else ranks.era = $era end
        and ($min_params_b is null or ranks.params_b > $min_params_b)
        and ($max_params_b is null or ranks.params_b <= $max_params_b)
        and ($model_type is null or lower(ranks.model_type) = lower($model_type))
        and ($precision is null or lower(ranks.precision) = lower($precision))
        and ($license is null or lower(ranks.license) = lower($license))
        and ($organization is null or lower(ranks.organization) = lower($organization))
        and ($country is null or lower(ranks.country) = lower($country))
        and ($with_merges or not coalesce(ranks.is_merged, false))
        and ($with_flagged or not coalesce(ranks.is_flagged, false))
        and (
            $with_unavailable
            or coalesce(ranks.model_state, 'available') not in ('deleted', 'private', 'disabled', 'unavailable')
        )
        and ($with_gated or coalesce(ranks.model_state, '') != 'gated')
        and ($with_copies or ranks.identical_to is null)
        and (
            $models is null
            or ranks.ranked_as in (select unnest(cast($sources as varchar[])))
            or (ranks.ranked_as = 'run' and ranks.model_id in (select unnest(cast($models as varchar[]))))
        )
),

placed as (
    select
        *,
        row_number() over (order by rank) as selected_rank
    from selected
    order by rank
    limit $n
)

select * from placed
