-- For psql, as the owner of the tables: lets Grafana read what the dashboard shows. The grants are those of the role
-- calmirror_reader that `calmirror grants` prints, as far as the dashboard needs them.
\getenv password READER_PASSWORD
\getenv grafana GRAFANA_PASSWORD

-- Grafana takes an empty one for none, and lets anybody in as admin with the password admin; Postgres takes the role's away.
-- Grafana does not start unless this ends well.
\o /dev/null
select set_config('calmirror.empty', concat_ws(' and ',
    case when :'password' = '' then 'READER_PASSWORD' end,
    case when :'grafana' = '' then 'GRAFANA_PASSWORD' end
), true);
\o
do $$
declare
    variables text := current_setting('calmirror.empty');
begin
    if variables <> '' then
        raise exception 'no password is given: % must not be empty', variables
            using hint = 'Set it in the file of --env-file, and start again.';
    end if;
end;
$$;

do $$
begin
    if not exists (select from pg_roles where rolname = 'calmirror_reader') then
        create role calmirror_reader;
    end if;
end;
$$;

alter role calmirror_reader login password :'password';
-- Whoever may edit a dashboard may write queries.
alter role calmirror_reader set default_transaction_read_only = on;
alter role calmirror_reader set statement_timeout = '30s';

grant usage on schema public to calmirror_reader;
grant select on managed_user_changes, managed_users_freshness, managed_users_live to calmirror_reader;
