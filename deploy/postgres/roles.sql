-- Run once, by the image, when the data folder is made. Two roles: `airflow` owns the orchestrator's database, `concordance`
-- the ledger's. Neither is a superuser, and neither may connect to the other's database.
\set ON_ERROR_STOP on
\getenv airflow_password AIRFLOW_DB_PASSWORD
\getenv ledger_password LEDGER_PASSWORD

-- The passwords are hashed in the session and must not reach the log.
SET log_statement = 'none';
SET log_min_error_statement = 'panic';
CREATE ROLE airflow LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD :'airflow_password';
CREATE ROLE concordance LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD :'ledger_password';
CREATE DATABASE airflow OWNER airflow;
CREATE DATABASE concordance OWNER concordance;
REVOKE ALL ON DATABASE airflow, concordance, postgres, template1 FROM PUBLIC;
