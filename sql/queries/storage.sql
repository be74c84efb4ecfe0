-- Queries of kflow/store/storage.py, ledger.py and prune.py, and of the modules of kflow/replay that keep copies.

-- name: tables
-- What each table of kflow takes, its partitions and indexes included, largest first. Rows are PostgreSQL's estimate.
-- Returns: relname, partitions, estimated_rows, table_bytes, index_bytes.
SELECT t.relname,
       count(*) - 1 AS partitions,
       sum(greatest(c.reltuples, 0))::int8 AS estimated_rows,
       sum(pg_table_size(c.oid))::int8 AS table_bytes,
       sum(pg_indexes_size(c.oid))::int8 AS index_bytes
  FROM pg_class t
  -- A plain table has no partition tree, not even itself.
  CROSS JOIN LATERAL (SELECT t.oid UNION SELECT relid FROM pg_partition_tree(t.oid)) AS part (oid)
  JOIN pg_class c ON c.oid = part.oid
 WHERE t.relnamespace = current_schema()::regnamespace AND t.relkind IN ('r', 'p') AND NOT t.relispartition
   AND t.relname ~ '^(rl_|schema_migrations$)'
 GROUP BY t.relname
 ORDER BY sum(pg_total_relation_size(c.oid)) DESC, t.relname;

-- name: steps
-- What was done with the copies of a session, of all where session_id is null, first to last.
-- Returns: session_id, step, folder, manifest, digest, facts, taken_at, taken_by.
SELECT session_id, step, folder, manifest, digest, facts, taken_at, taken_by
  FROM rl_storage_steps
 WHERE %(session_id)s::integer IS NULL OR session_id = %(session_id)s
 ORDER BY session_id, id;

-- name: take
-- A step was taken, by a user of a machine under a role of this database.
INSERT INTO rl_storage_steps (session_id, step, taken_by, folder, manifest, digest, facts)
VALUES (%(session_id)s, %(step)s, %(taken_by)s || ' (' || current_user || ')', %(folder)s, %(manifest)s, %(digest)s,
        %(facts)s);

-- name: lock
-- Only one command at a time archives, removes, restores or backs up; ends with the connection. Returns: whether it may.
SELECT pg_try_advisory_lock(hashtext('kflow rl_storage_steps'));

-- name: unlock
-- The next one may.
SELECT pg_advisory_unlock(hashtext('kflow rl_storage_steps'));

-- name: may_remove
-- Whether this user may drop days and delete rows. Returns: user, owner, whether.
SELECT current_user, pg_get_userbyid(relowner), pg_has_role(relowner, 'USAGE')
  FROM pg_class
 WHERE oid = 'rl_orderbook_deltas'::regclass;

-- name: facts
-- All that is known of a session beside its rows, as JSON text. Returns: facts.
SELECT json_build_object(
           'session', row_to_json(session),
           'connections', (SELECT coalesce(json_agg(row_to_json(link) ORDER BY link.connection), '[]')
                             FROM rl_connections AS link WHERE link.session_id = session.id),
           'markets', (SELECT coalesce(json_agg(row_to_json(market) ORDER BY market.id), '[]')
                         FROM rl_markets AS market
                         JOIN rl_session_markets AS link ON link.market_id = market.id AND link.session_id = session.id),
           'gaps', (SELECT coalesce(json_agg(row_to_json(gap) ORDER BY gap.connection, gap.recv_ns, gap.expected), '[]')
                      FROM rl_gaps AS gap WHERE gap.session_id = session.id),
           'watermarks', (SELECT coalesce(json_agg(json_build_object(
                                 'shard', mark.shard, 'journal_offset', mark.journal_offset) ORDER BY mark.shard), '[]')
                            FROM rl_watermarks AS mark WHERE mark.session_id = session.id))::text AS facts
  FROM rl_sessions AS session
 WHERE session.id = %(session_id)s;

-- name: days
-- The UTC days that a session has rows of, as days since 1970. Returns: day.
SELECT recv_ns / 86400000000000 AS day FROM rl_orderbook_deltas WHERE session_id = %(session_id)s
UNION SELECT recv_ns / 86400000000000 FROM rl_orderbook_snapshots WHERE session_id = %(session_id)s
UNION SELECT recv_ns / 86400000000000 FROM rl_trades WHERE session_id = %(session_id)s
UNION SELECT recv_ns / 86400000000000 FROM rl_tickers WHERE session_id = %(session_id)s
UNION SELECT recv_ns / 86400000000000 FROM rl_frames WHERE session_id = %(session_id)s
 ORDER BY day;

-- name: count
-- Rows of {table}. Returns: count.
SELECT count(*) FROM {table};

-- name: any_row
-- Whether {table} has any row. Returns: a row, where it has.
SELECT FROM {table} LIMIT 1;

-- name: copy_out
-- All of {table}.
COPY {table} TO STDOUT (FORMAT csv, HEADER);

-- name: copy_in
-- The same back; the columns have to be the same.
COPY {table} FROM STDIN (FORMAT csv, HEADER MATCH);

-- name: unfence_orders
-- Orders of actors that ended long ago are let in; ends with the transaction, or with fence_orders.
ALTER TABLE rl_orders DISABLE TRIGGER rl_orders_fence;

-- name: fence_orders
-- No longer.
ALTER TABLE rl_orders ENABLE TRIGGER rl_orders_fence;

-- name: go_on_counting
-- New rows get numbers behind those that were brought.
SELECT setval(pg_get_serial_sequence('rl_markets', 'id'), (SELECT coalesce(max(id), 0) + 1 FROM rl_markets), false),
       setval(pg_get_serial_sequence('rl_models', 'id'), (SELECT coalesce(max(id), 0) + 1 FROM rl_models), false),
       setval(pg_get_serial_sequence('rl_model_changes', 'id'),
              (SELECT coalesce(max(id), 0) + 1 FROM rl_model_changes), false),
       setval(pg_get_serial_sequence('rl_evaluations', 'id'),
              (SELECT coalesce(max(id), 0) + 1 FROM rl_evaluations), false),
       setval(pg_get_serial_sequence('rl_trading_episodes', 'id'),
              (SELECT coalesce(max(id), 0) + 1 FROM rl_trading_episodes), false),
       setval(pg_get_serial_sequence('rl_actor_holdings', 'id'),
              (SELECT coalesce(max(id), 0) + 1 FROM rl_actor_holdings), false),
       setval(pg_get_serial_sequence('rl_orders', 'id'), (SELECT coalesce(max(id), 0) + 1 FROM rl_orders), false),
       setval(pg_get_serial_sequence('rl_fills', 'id'), (SELECT coalesce(max(id), 0) + 1 FROM rl_fills), false),
       setval(pg_get_serial_sequence('rl_trading_actions', 'id'),
              (SELECT coalesce(max(id), 0) + 1 FROM rl_trading_actions), false),
       setval(pg_get_serial_sequence('rl_storage_steps', 'id'),
              (SELECT coalesce(max(id), 0) + 1 FROM rl_storage_steps), false);

-- name: is_there
-- Whether there is a table of a name. Returns: whether.
SELECT to_regclass('public.' || %(table)s) IS NOT NULL;

-- name: move_journal
-- A session's journal lies elsewhere now.
UPDATE rl_sessions SET journal_dir = %(journal_dir)s WHERE id = %(session_id)s;

-- name: look_again
-- The planner knows the tables as they are now.
ANALYZE;

-- name: introduce
-- A session under the number that it had elsewhere.
INSERT INTO rl_sessions (id, uuid, started_ns, ended_ns, environment, use_yes_price, sample_rate, kflow_version, host,
                         journal_dir, selection, state)
VALUES (%(id)s, %(uuid)s, %(started_ns)s, %(ended_ns)s, %(environment)s, %(use_yes_price)s, %(sample_rate)s,
        %(kflow_version)s, %(host)s, %(journal_dir)s, %(selection)s, %(state)s);

-- name: introduce_watermark
-- Its journal is loaded that far.
INSERT INTO rl_watermarks (session_id, shard, journal_offset)
VALUES (%(session_id)s, %(shard)s, %(journal_offset)s);

-- name: forget_deltas
-- What is left of a session that was removed.
DELETE FROM rl_orderbook_deltas WHERE session_id = %(session_id)s;

-- name: forget_snapshots
-- The same.
DELETE FROM rl_orderbook_snapshots WHERE session_id = %(session_id)s;

-- name: forget_trades
-- The same.
DELETE FROM rl_trades WHERE session_id = %(session_id)s;

-- name: forget_tickers
-- The same.
DELETE FROM rl_tickers WHERE session_id = %(session_id)s;

-- name: forget_frames
-- The same.
DELETE FROM rl_frames WHERE session_id = %(session_id)s;

-- name: day_tables
-- Partitions of the stream's tables, by day. Returns: name, start_ns, end_ns, bytes.
SELECT part.relname AS name,
       substring(bounds.expression FROM 'FROM \(''?(\d+)''?\)')::bigint AS start_ns,
       substring(bounds.expression FROM 'TO \(''?(\d+)''?\)')::bigint AS end_ns,
       pg_total_relation_size(part.oid) AS bytes
  FROM pg_inherits AS link
  JOIN pg_class AS part ON part.oid = link.inhrelid
 CROSS JOIN LATERAL (SELECT pg_get_expr(part.relpartbound, part.oid) AS expression) AS bounds
 WHERE link.inhparent IN ('rl_orderbook_deltas'::regclass, 'rl_orderbook_snapshots'::regclass, 'rl_trades'::regclass,
                          'rl_tickers'::regclass, 'rl_frames'::regclass)
 ORDER BY start_ns, name;

-- name: rows_of_others
-- Whether {table} has rows of other sessions than these. Returns: a row, where it has.
SELECT FROM {table} WHERE session_id <> ALL (%(ids)s) LIMIT 1;

-- name: do_not_hold_others_up
-- Whoever comes behind a lock that is waited for waits too: not for long. Ends with the transaction.
SET LOCAL lock_timeout = '1s';

-- name: hold_still
-- Nobody writes to {table} until the transaction ends.
LOCK TABLE {table} IN SHARE MODE;

-- name: drop_day
-- {table} and its room on the disk are gone.
DROP TABLE {table};

-- name: pages
-- How many pages of 8 kB a table has. Returns: pages.
SELECT pg_relation_size(%(table)s::regclass) / current_setting('block_size')::bigint;

-- name: delete_pages
-- Rows of sessions in some pages of {table}.
DELETE FROM {table} WHERE session_id = ANY (%(ids)s) AND ctid >= %(first)s::tid AND ctid < %(last)s::tid;

-- name: vacuum
-- The room of rows deleted from {table} is free for new ones.
VACUUM (ANALYZE) {table};

-- name: needs
-- Sessions that something still needs, and what that is: models that are not retired, what they were judged on, and
-- actors at work while they were recorded. Returns: session_id, what.
WITH alive AS (
    SELECT id, model_name || ':' || version AS name, status, card
      FROM rl_models
     WHERE status IN ('training', 'candidate', 'paper', 'live')
)
SELECT session.id AS session_id, 'model ' || alive.name || ' (' || alive.status || ') was trained on it' AS what
  FROM alive
 CROSS JOIN LATERAL json_array_elements(CASE WHEN json_typeof(alive.card -> 'trained_on') = 'array'
                                             THEN alive.card -> 'trained_on' ELSE '[]' END) AS seen
  JOIN rl_sessions AS session ON session.id = (seen ->> 'session')::integer
UNION
SELECT episode.session_id, 'model ' || alive.name || ' (' || alive.status || ') was trained on it'
  FROM rl_trading_episodes AS episode
  JOIN alive ON alive.id = episode.model_id
 WHERE episode.session_id IS NOT NULL AND episode.evaluation_id IS NULL
UNION
SELECT session.id, 'evaluation ' || evaluation.id || ' judged model ' || alive.name || ' (' || alive.status || ') on it'
  FROM rl_evaluations AS evaluation
  JOIN rl_evaluated_models AS judged ON judged.evaluation_id = evaluation.id
  JOIN alive ON alive.id = judged.model_id
 CROSS JOIN LATERAL jsonb_array_elements(coalesce(evaluation.document #> '{data,tapes}', '[]')) AS tape
  JOIN rl_sessions AS session ON session.id = (tape ->> 'session')::integer
UNION
SELECT session.id, 'the actor run ' || run.run || ' (' || run.venue || ') goes on, and began while it was recorded'
  FROM rl_actor_runs AS run
  JOIN rl_actor_leases AS lease ON lease.venue = run.venue AND lease.epoch = run.epoch
                               AND lease.expires_at > clock_timestamp()
  JOIN rl_sessions AS session ON coalesce(session.ended_ns, 9223372036854775807) >= run.started_ns
 WHERE run.ended_ns IS NULL
UNION
SELECT held.session_id, 'order ' || held.client_order_id || ' of it is not over (' || held.status || ')'
  FROM rl_orders AS held
 WHERE held.session_id IS NOT NULL AND held.status NOT IN ('filled', 'cancelled', 'expired', 'refused', 'absent')
 ORDER BY session_id, what;
