-- Queries of kflow/store/sessions.py.

-- name: lock_numbers
-- Only one process at a time may take the next session number; the lock ends with the transaction.
SELECT pg_advisory_xact_lock(hashtext('kflow rl_sessions'));

-- name: create
-- A new session under the next free number; nothing where its uuid is known already. Returns: id.
INSERT INTO rl_sessions (id, uuid, started_ns, environment, use_yes_price, sample_rate, kflow_version, host,
                         journal_dir, selection)
SELECT coalesce((SELECT max(id) FROM rl_sessions), 0) + 1, %(uuid)s, %(started_ns)s, %(environment)s,
       %(use_yes_price)s, %(sample_rate)s, %(kflow_version)s, %(host)s, %(journal_dir)s, %(selection)s
 WHERE NOT EXISTS (SELECT FROM rl_sessions WHERE uuid = %(uuid)s)
RETURNING id;

-- name: find
-- One session by its uuid.
-- Returns: id, uuid, started_ns, ended_ns, environment, use_yes_price, sample_rate, kflow_version, host, journal_dir,
-- selection, state.
SELECT id, uuid, started_ns, ended_ns, environment, use_yes_price, sample_rate, kflow_version, host, journal_dir,
       selection, state
  FROM rl_sessions
 WHERE uuid = %(uuid)s;

-- name: read
-- Sessions by number, all where ids is null, in order. Returns: as find.
SELECT id, uuid, started_ns, ended_ns, environment, use_yes_price, sample_rate, kflow_version, host, journal_dir,
       selection, state
  FROM rl_sessions
 WHERE %(ids)s::integer[] IS NULL OR id = ANY (%(ids)s)
 ORDER BY id;

-- name: close
-- A session has ended, or was completed from its journal. The first end stands.
UPDATE rl_sessions
   SET ended_ns = coalesce(ended_ns, %(ended_ns)s), state = %(state)s
 WHERE id = %(id)s AND state = 'open';

-- name: open_connection
-- A socket was connected; once more is no error.
INSERT INTO rl_connections (session_id, connection, opened_ns, url)
VALUES (%(session_id)s, %(connection)s, %(opened_ns)s, %(url)s)
ON CONFLICT DO NOTHING;

-- name: close_connection
-- A socket was closed; the first reason stands.
UPDATE rl_connections
   SET closed_ns = %(closed_ns)s, reason = %(reason)s
 WHERE session_id = %(session_id)s AND connection = %(connection)s AND closed_ns IS NULL;

-- name: upsert_market
-- What is known of a market. A null never erases, and older knowledge never replaces newer. Returns: id.
WITH put AS (
    INSERT INTO rl_markets AS known (
        ticker, market_id, event_ticker, series_ticker, price_ranges, fee_type, fee_multiplier, status, open_time,
        close_time, result, settlement_value_e4, exchange_index, info, updated_ns)
    VALUES (
        %(ticker)s, %(market_id)s, %(event_ticker)s, %(series_ticker)s, %(price_ranges)s, %(fee_type)s,
        %(fee_multiplier)s, %(status)s, %(open_time)s, %(close_time)s, %(result)s, %(settlement_value_e4)s,
        %(exchange_index)s, %(info)s, %(updated_ns)s)
    ON CONFLICT (ticker) DO UPDATE SET
        market_id = coalesce(EXCLUDED.market_id, known.market_id),
        event_ticker = coalesce(EXCLUDED.event_ticker, known.event_ticker),
        series_ticker = coalesce(EXCLUDED.series_ticker, known.series_ticker),
        price_ranges = coalesce(EXCLUDED.price_ranges, known.price_ranges),
        fee_type = coalesce(EXCLUDED.fee_type, known.fee_type),
        fee_multiplier = coalesce(EXCLUDED.fee_multiplier, known.fee_multiplier),
        status = coalesce(EXCLUDED.status, known.status),
        open_time = coalesce(EXCLUDED.open_time, known.open_time),
        close_time = coalesce(EXCLUDED.close_time, known.close_time),
        result = coalesce(EXCLUDED.result, known.result),
        settlement_value_e4 = coalesce(EXCLUDED.settlement_value_e4, known.settlement_value_e4),
        exchange_index = coalesce(EXCLUDED.exchange_index, known.exchange_index),
        info = coalesce(EXCLUDED.info, known.info),
        updated_ns = EXCLUDED.updated_ns
    WHERE known.updated_ns <= EXCLUDED.updated_ns
    RETURNING id
)
SELECT id FROM put
UNION ALL
SELECT id FROM rl_markets WHERE ticker = %(ticker)s AND NOT EXISTS (SELECT FROM put);

-- name: link_markets
-- The session records these markets; once more is no error.
INSERT INTO rl_session_markets (session_id, market_id)
SELECT %(session_id)s, market_id FROM unnest(%(market_ids)s::integer[]) AS market_id
ON CONFLICT DO NOTHING;

-- name: markets
-- The markets of some sessions, by id, all where session_ids is null. Returns: the columns of rl_markets.
SELECT market.id, market.ticker, market.market_id, market.event_ticker, market.series_ticker, market.price_ranges,
       market.fee_type, market.fee_multiplier, market.status, market.open_time, market.close_time, market.result,
       market.settlement_value_e4, market.exchange_index, market.info, market.updated_ns
  FROM rl_markets AS market
 WHERE %(session_ids)s::integer[] IS NULL
    OR EXISTS (SELECT FROM rl_session_markets AS link
                WHERE link.market_id = market.id AND link.session_id = ANY (%(session_ids)s))
 ORDER BY market.id;

-- name: start_watermark
-- Nothing of the journal is loaded yet; once more is no error.
INSERT INTO rl_watermarks (session_id, shard, journal_offset)
VALUES (%(session_id)s, %(shard)s, 0)
ON CONFLICT DO NOTHING;

-- name: read_watermark
-- How far the journal is loaded. Returns: journal_offset.
SELECT journal_offset FROM rl_watermarks WHERE session_id = %(session_id)s AND shard = %(shard)s;

-- name: lock_watermark
-- The same, and nobody else moves it before this transaction ends. Returns: journal_offset.
SELECT journal_offset FROM rl_watermarks WHERE session_id = %(session_id)s AND shard = %(shard)s FOR UPDATE;

-- name: move_watermark
-- The journal is loaded up to `end`, if it was up to `start` before. Returns: journal_offset, nothing if it was not.
UPDATE rl_watermarks
   SET journal_offset = %(end)s, updated_at = now()
 WHERE session_id = %(session_id)s AND shard = %(shard)s AND journal_offset = %(start)s
RETURNING journal_offset;

-- name: summaries
-- What the rows of some sessions say, all sessions where ids is null, in order. lost_ns is the time in which a market's
-- book could not be trusted: gaps of a whole subscription in full, gaps of one market divided by the number of markets.
-- Duplicates and late messages take no time. Returns: id, markets, connections, deltas, snapshots, trades, tickers,
-- frames, gaps, first_ns, last_ns, lost_ns.
WITH wanted AS (
    SELECT id FROM rl_sessions WHERE %(ids)s::integer[] IS NULL OR id = ANY (%(ids)s)
), counted (session_id, kind, number, first_ns, last_ns) AS (
    SELECT session_id, 'deltas', count(*), min(recv_ns), max(recv_ns) FROM rl_orderbook_deltas
     WHERE %(ids)s::integer[] IS NULL OR session_id = ANY (%(ids)s) GROUP BY session_id
    UNION ALL
    SELECT session_id, 'snapshots', count(*), min(recv_ns), max(recv_ns) FROM rl_orderbook_snapshots
     WHERE %(ids)s::integer[] IS NULL OR session_id = ANY (%(ids)s) GROUP BY session_id
    UNION ALL
    SELECT session_id, 'trades', count(*), min(recv_ns), max(recv_ns) FROM rl_trades
     WHERE %(ids)s::integer[] IS NULL OR session_id = ANY (%(ids)s) GROUP BY session_id
    UNION ALL
    SELECT session_id, 'tickers', count(*), min(recv_ns), max(recv_ns) FROM rl_tickers
     WHERE %(ids)s::integer[] IS NULL OR session_id = ANY (%(ids)s) GROUP BY session_id
    UNION ALL
    SELECT session_id, 'frames', count(*), min(recv_ns), max(recv_ns) FROM rl_frames
     WHERE %(ids)s::integer[] IS NULL OR session_id = ANY (%(ids)s) GROUP BY session_id
), total AS (
    SELECT wanted.id,
           coalesce(sum(number) FILTER (WHERE kind = 'deltas'), 0)::bigint AS deltas,
           coalesce(sum(number) FILTER (WHERE kind = 'snapshots'), 0)::bigint AS snapshots,
           coalesce(sum(number) FILTER (WHERE kind = 'trades'), 0)::bigint AS trades,
           coalesce(sum(number) FILTER (WHERE kind = 'tickers'), 0)::bigint AS tickers,
           coalesce(sum(number) FILTER (WHERE kind = 'frames'), 0)::bigint AS frames,
           min(first_ns) AS first_ns,
           max(last_ns) AS last_ns,
           (SELECT count(*) FROM rl_session_markets AS link WHERE link.session_id = wanted.id) AS markets,
           (SELECT count(*) FROM rl_connections AS link WHERE link.session_id = wanted.id) AS connections,
           (SELECT count(*) FROM rl_gaps AS gap WHERE gap.session_id = wanted.id) AS gaps
      FROM wanted LEFT JOIN counted ON counted.session_id = wanted.id
     GROUP BY wanted.id
), lost (id, markets, market_id, times) AS (
    SELECT total.id, total.markets, gap.market_id,
           range_agg(int8range(gap.recv_ns, greatest(gap.recv_ns, coalesce(gap.ended_ns, total.last_ns)))
                     * int8range(total.first_ns, total.last_ns))
      FROM total JOIN rl_gaps AS gap ON gap.session_id = total.id
     WHERE gap.kind NOT IN ('duplicate', 'reordered')
     GROUP BY total.id, total.markets, gap.market_id
), share (id, ns) AS (
    SELECT lost.id, length.ns / CASE WHEN lost.market_id IS NULL THEN 1 ELSE greatest(lost.markets, 1) END
      FROM lost
      LEFT JOIN lost AS whole ON whole.id = lost.id AND whole.market_id IS NULL AND lost.market_id IS NOT NULL
     CROSS JOIN LATERAL (SELECT sum(upper(time) - lower(time)) AS ns
                           FROM unnest(lost.times - coalesce(whole.times, '{}'::int8multirange)) AS time) AS length
)
SELECT total.id, total.markets, total.connections, total.deltas, total.snapshots, total.trades, total.tickers,
       total.frames, total.gaps, total.first_ns, total.last_ns,
       coalesce((SELECT sum(share.ns) FROM share WHERE share.id = total.id), 0)::bigint AS lost_ns
  FROM total
 ORDER BY total.id;

-- name: gaps
-- The gaps of one session in the order they were found.
-- Returns: recv_ns, expected, received, ended_ns, connection, sid, market_id, kind, detail.
SELECT recv_ns, expected, received, ended_ns, connection, sid, market_id, kind, detail
  FROM rl_gaps
 WHERE session_id = %(session_id)s
 ORDER BY connection, recv_ns, expected;

-- name: end_gaps
-- The books of a subscription (of one market, where market_id is given) are live again: gaps open then end.
UPDATE rl_gaps
   SET ended_ns = %(ended_ns)s
 WHERE session_id = %(session_id)s AND connection = %(connection)s AND ended_ns IS NULL
   AND recv_ns <= %(ended_ns)s AND (sid = %(sid)s OR sid IS NULL)
   AND (%(market_id)s::integer IS NULL OR market_id = %(market_id)s);

-- name: end_connection_gaps
-- The gaps of a connection (of some kinds, where kinds are given) that were open at a time ended then.
UPDATE rl_gaps
   SET ended_ns = %(ended_ns)s
 WHERE session_id = %(session_id)s AND connection = %(connection)s AND ended_ns IS NULL AND recv_ns <= %(ended_ns)s
   AND (%(kinds)s::text[] IS NULL OR kind = ANY (%(kinds)s));

-- name: ensure_day
-- The day partitions of a time exist. Returns: whether they had to be made.
SELECT kflow_ensure_day(%(ns)s);
