-- Queries of kflow/store/migrate.py.

-- name: lock
-- Only one process migrates a database at a time; the lock ends with the transaction.
SELECT pg_advisory_xact_lock(hashtext('kflow schema_migrations'));

-- name: exists
-- Whether any kflow has migrated this database. Returns: exists.
SELECT to_regclass('public.schema_migrations') IS NOT NULL AS "exists";

-- name: create
-- The list of applied migrations.
CREATE TABLE IF NOT EXISTS public.schema_migrations (
    version     integer PRIMARY KEY,
    name        text NOT NULL,
    applied_at  timestamptz NOT NULL DEFAULT now(),
    checksum    bytea NOT NULL
);

-- name: applied
-- Every applied migration in order. Returns: version, name, applied_at, checksum.
SELECT version, name, applied_at, checksum
  FROM public.schema_migrations
 ORDER BY version;

-- name: record
-- One migration was applied.
INSERT INTO public.schema_migrations (version, name, checksum)
VALUES (%(version)s, %(name)s, %(checksum)s);
