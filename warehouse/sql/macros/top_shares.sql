-- One row per month and organization or country with models in the top n of the ranking at the end of the month: how many. Counts
-- the best row of each model, and of identical weights only the evaluated model, because a re-upload is no achievement.
-- Parameters: $suite, $n, $holder ('organization' or 'country'), $era, and $models and $sources as in top_models.
with
candidates as (
    select candidates.*
    from main.candidates as candidates
    where
        candidates.suite = $suite
        and case when $era is null then candidates.is_current_era else candidates.era = $era end
),

span as (
    select
        date_trunc('month', min(known_at) at time zone 'UTC') as first_month,
        date_trunc('month', max(known_at) at time zone 'UTC') as last_month
    from candidates
),

months as (
    select unnest(generate_series(first_month, last_month, interval 1 month)) as month
    from span
),

ranks as (
    select
        months.month,
        ranks.*
    from months
    cross join
        lateral (
            select *
            from
                main.ranked_revisions_as_of((months.month + interval 1 month - interval 1 microsecond) at time zone 'UTC')
        ) as ranks
    where ranks.suite = $suite and case when $era is null then ranks.is_current_era else ranks.era = $era end
),

shown as (
    select * from ranks
    where
        $models is null
        or ranked_as in (select unnest(cast($sources as varchar[])))
        or (ranked_as = 'run' and model_id in (select unnest(cast($models as varchar[]))))
),

best_rows as (
    select * from shown
    qualify
        row_number() over (partition by month, evaluation_id order by rank) = 1
        and row_number() over (partition by month, model_id order by rank) = 1
),

top as (
    select
        *,
        case $holder
            when 'organization' then organization
            when 'country' then country
            else error('neither organization nor country')
        end as name
    from best_rows
    qualify row_number() over (partition by month order by rank) <= $n
),

shares as (
    select
        cast(top.month as date) as month,
        top.name,
        count(*) as n_models,
        count(*) / sum(count(*)) over (partition by top.month) as share
    from top
    group by top.month, top.name
    order by top.month, n_models desc, top.name nulls last
)

select * from shares
