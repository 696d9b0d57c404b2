-- For psql, as the owner of the tables: lets Grafana read what the dashboard shows. The grants are those of the role
-- calmirror_reader that `calmirror grants` prints, as far as the dashboard needs them.
\getenv password READER_PASSWORD

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
