-- Database and roles, before the first migration. It may run again, for example with other passwords.
--   psql --set=ON_ERROR_STOP=1 --set=database=agentexec --file=roles.sql     # psql 15 or newer, as a superuser
-- Passwords come from the variables OWNER_PASSWORD, APP_PASSWORD, BACKUP_PASSWORD and MONITOR_PASSWORD.
--   agentexec_owner    owns the tables: migrations, clean-up, restore
--   agentexec_app      pools and API servers: reads and writes rows, changes no table
--   agentexec_backup   reads everything, and may stream base backups
--   agentexec_monitor  reads statistics, for the exporter
\getenv owner_password OWNER_PASSWORD
\getenv app_password APP_PASSWORD
\getenv backup_password BACKUP_PASSWORD
\getenv monitor_password MONITOR_PASSWORD
SET log_statement = 'none';
SET client_min_messages = warning;

SELECT format('CREATE ROLE %I', name)
FROM unnest(ARRAY['agentexec_owner', 'agentexec_app', 'agentexec_backup', 'agentexec_monitor']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec

ALTER ROLE agentexec_owner LOGIN PASSWORD :'owner_password';
ALTER ROLE agentexec_app LOGIN PASSWORD :'app_password';
ALTER ROLE agentexec_backup LOGIN REPLICATION PASSWORD :'backup_password';
ALTER ROLE agentexec_monitor LOGIN PASSWORD :'monitor_password';
GRANT pg_read_all_data TO agentexec_backup;
-- The doctor sees the transactions of other roles.
GRANT pg_read_all_stats TO agentexec_app;
GRANT pg_monitor TO agentexec_monitor;

SELECT format('CREATE DATABASE %I OWNER agentexec_owner ENCODING %L TEMPLATE template0', :'database', 'UTF8')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \gexec

REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"database" TO agentexec_app, agentexec_backup, agentexec_monitor;
ALTER DATABASE :"database" SET timezone = 'UTC';

-- Rights on a schema and on tables belong to one database. Without this line they would go to another one.
\connect :"database"
SET client_min_messages = warning;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO agentexec_owner;
GRANT USAGE ON SCHEMA public TO agentexec_app;
-- Tables that the owner makes later, such as those of the first migration or of a restore ...
ALTER DEFAULT PRIVILEGES FOR ROLE agentexec_owner IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE ON TABLES TO agentexec_app;
ALTER DEFAULT PRIVILEGES FOR ROLE agentexec_owner IN SCHEMA public
    GRANT USAGE, SELECT ON SEQUENCES TO agentexec_app;
-- ... and those that are there already.
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO agentexec_app;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO agentexec_app;
