-- One row per commit that cannot be evaluated, with the reason; newest first for each model. Parameters: $models (null: of all).
select
    model_id,
    revision,
    reason,
    coalesce(committed_at, discovered_at) as seen_at
from main.commits
where state != 'ok' and ($models is null or model_id in (select unnest(cast($models as varchar[]))))
order by model_id, seen_at desc, revision
