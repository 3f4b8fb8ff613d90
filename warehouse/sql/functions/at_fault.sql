-- The party at fault for an attempt's state; null if it completed.
-- Parameter: $state.
select
    case
        when $state = 'completed' then null
        when $state in ('timeout', 'out_of_memory', 'failed', 'invalid', 'fetch_failed') then 'model'
        when $state = 'cancelled' then 'operator'
        when $state = 'hub_failed' then 'hub'
        when $state in ('environment', 'cache_failed') then 'environment'
        when $state = 'harness' then 'harness'
        else 'cluster'
    end
