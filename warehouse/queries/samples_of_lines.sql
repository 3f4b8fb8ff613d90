-- One row per document, filter and metric of one task, from the lines of lm-eval's samples file.
-- Parameters: $evaluation_id, $benchmark, $task. The file's metrics are columns of `lines` beside the fixed ones.
with
metric_values as (
    from lines
    unpivot include nulls (
        score for metric in (columns(* exclude (doc_id, doc_hash, question_hash, filter, metrics, target, filtered_resps)))
    )
),

listed as (
    select
        *,
        json_type(score) as kind,
        [part for part in json_extract(score, '$[*]') if json_type(part) = 'BOOLEAN'] as parts,
        json_extract(filtered_resps, '$[0]') as first_response
    from metric_values
    where list_contains(metrics, metric)
),

samples as (
    select
        $evaluation_id as evaluation_id,
        cast($benchmark as varchar) as benchmark,
        $task as task,
        doc_id,
        doc_hash,
        question_hash,
        filter,
        metric,
        case
            when kind = 'BOOLEAN' then cast(cast(score as boolean) as double)
            when kind = 'ARRAY' and len(parts) = json_array_length(score)
                then list_avg([cast(cast(part as boolean) as integer) for part in parts])
            else try_cast(score as double)
        end as value,
        case when kind = 'ARRAY' and len(parts) = json_array_length(score) then len(parts) else 1 end as weight,
        target,
        case
            when json_extract_string(first_response, '$[1]') in ('True', 'False') and json_array_length(first_response) = 2
                then cast(to_json([try_cast(request[1] as double) for request in cast(filtered_resps as varchar[][])]) as varchar)
            when json_type(first_response) = 'ARRAY' then json_extract_string(first_response, '$[0]')
            else json_extract_string(first_response, '$')
        end as response
    from listed
)

select * from samples
