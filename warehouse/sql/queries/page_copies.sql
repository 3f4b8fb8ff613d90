-- One row per model and other model that has had the same weights, the first owner first.
with
pairs as (
    select
        mine.model_id,
        other.model_id as other_id,
        other.revision,
        other.first_at,
        other.is_first,
        other.has_same_files,
        other.model_state,
        row_number() over (
            partition by mine.model_id
            order by other.is_first desc, other.first_at, other.model_id, other.weights_hash
        ) as place
    from main.identical_weights as mine
    inner join main.identical_weights as other
        on mine.weights_hash = other.weights_hash and mine.model_id != other.model_id
)

select * from pairs
where place <= 50
order by model_id, place
