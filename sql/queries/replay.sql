-- Queries of kflow/replay/tables.py, source.py and verify.py.

-- name: fix_view
-- This transaction sees the database as of now, to its end. First statement of its transaction.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;

-- name: export_view
-- Lets another transaction see exactly what this one sees. Returns: the name of the view.
SELECT pg_export_snapshot();

-- name: connections
-- The sockets of a session. Returns: connection, opened_ns, closed_ns, reason, url.
SELECT connection, opened_ns, closed_ns, reason, url
  FROM rl_connections
 WHERE session_id = %(session_id)s
 ORDER BY connection;

-- name: foreign_connections
-- When other sessions connected, since this one began. Returns: opened_ns.
SELECT link.opened_ns
  FROM rl_connections AS link
  JOIN rl_sessions AS own ON own.id = %(session_id)s
 WHERE link.session_id <> own.id AND link.opened_ns >= own.started_ns
 ORDER BY link.opened_ns;
