-- What an attempt's state is to be charged to; null for one that completed.
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
