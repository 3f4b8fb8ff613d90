-- One row: the number of rows of a suite's era that pass the filters of top_models.
-- Parameters: as of rank.sql, without $benchmarks and $limit.
with
counted as (
    select count(*) as n_rows
    from main.top_models(
        $suite,
        n := null,
        era := $era,
        as_of := $as_of,
        min_params_b := $min_params_b,
        max_params_b := $max_params_b,
        model_type := $model_type,
        precision := $precision,
        license := $license,
        organization := $organization,
        country := $country,
        with_merges := $with_merges,
        with_flagged := $with_flagged,
        with_unavailable := $with_unavailable,
        models := $models,
        sources := $sources
    )
)

select * from counted
