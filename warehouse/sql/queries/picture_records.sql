-- One row per score that was the best of its organization or country when it became known, oldest first. Of
-- identical models only the evaluated one counts, as in top_shares.
-- Parameters: $suite, $era, $holder ('organization' or 'country'), $models and $sources (as in top_models).
with
candidates as (
    select *
    from main.candidates
    where
        suite = $suite
        and era = $era
        and (
            $models is null
            or ranked_as in (select unnest(cast($sources as varchar[])))
            or (ranked_as = 'run' and model_id in (select unnest(cast($models as varchar[]))))
        )
    qualify
        row_number() over (
            partition by evaluation_id
            order by evaluated_model_id is distinct from model_id, known_at, model_id, revision
        ) = 1
),

organizations as (
    select * from main.organizations
),

held as (
    select
        case $holder when 'country' then organizations.country else candidates.organization end as holder,
        candidates.model_id,
        candidates.known_at,
        candidates.average
    from candidates
    left join organizations on candidates.organization = organizations.organization
),

records as (
    select *
    from held
    where holder is not null and known_at is not null
    qualify
        coalesce(
            average > max(average) over (
                partition by holder
                order by known_at, average desc, model_id
                rows between unbounded preceding and 1 preceding
            ),
            true
        )
    order by known_at, average, model_id
)

select * from records
