-- One row per organization that was declared or owns a model; without a declaration, its name is its id.
with
declared as (
    select * from staging.organizations
),

seen as (
    select organization from staging.commits
    union
    select organization from staging.models
    union
    select organization from staging.imports
    where organization is not null
),

organizations as (
    select
        coalesce(declared.organization, seen.organization) as organization,
        coalesce(declared.display_name, seen.organization) as display_name,
        declared.country
    from declared
    full outer join seen on declared.organization = seen.organization
)

select * from organizations
