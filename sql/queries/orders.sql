-- Queries of kflow/act/records.py and kflow/evaluate/parity/tables.py.

-- name: patience
-- How long the server may take for each statement, in ms; `local`: of this transaction.
SELECT set_config('statement_timeout', %(ms)s::text, %(local)s);

-- name: begin_run
-- A run begins; once more is no error.
INSERT INTO rl_actor_runs (run, venue, epoch, strategy, model_sha256, limits, kflow_version, host, started_ns)
VALUES (%(run)s, %(venue)s, %(epoch)s, %(strategy)s, %(model_sha256)s, %(limits)s, %(kflow_version)s, %(host)s,
        %(started_ns)s)
ON CONFLICT DO NOTHING;

-- name: end_run
-- A run ended in order; the first end stands. Returns: run, or no row.
UPDATE rl_actor_runs SET ended_ns = %(ended_ns)s, ended = %(ended)s
 WHERE run = %(run)s AND ended_ns IS NULL
RETURNING run;

-- name: market
-- The number of a market. Returns: id.
SELECT id FROM rl_markets WHERE ticker = %(ticker)s;

-- name: intend
-- An order before it is sent. Refused by the trigger of 0007 where its epoch does not hold the lease. Returns: id, or no
-- row where it was stored before.
INSERT INTO rl_orders (
    client_order_id, venue, market_id, side, direction, price_e4, size_e2, status, created_ns, updated_ns, run, epoch,
    number, action, immediate, reduce_only, expires_us, until_us, decided_us, book_version, observation, limits, shard,
    order_group)
VALUES (
    %(client_order_id)s, %(venue)s, %(market_id)s, %(side)s, 0, %(price)s, %(size)s, %(status)s, %(now_ns)s, %(now_ns)s,
    %(run)s, %(epoch)s, %(number)s, %(action)s, %(immediate)s, %(reduce_only)s, %(expires_us)s, %(until_us)s,
    %(decided_us)s, %(book_version)s, %(observation)s, %(limits)s, %(shard)s, %(order_group)s)
ON CONFLICT (client_order_id) DO NOTHING
RETURNING id;

-- name: update
-- What became of an order. What is over stays so, unless a fill ended it. Returns: id, or no row where there is none.
UPDATE rl_orders AS held
   SET status = CASE WHEN kept THEN held.status ELSE %(status)s END,
       reason = CASE WHEN kept THEN held.reason ELSE nullif(%(reason)s, '') END,
       venue_order_id = coalesce(%(venue_order_id)s, held.venue_order_id),
       filled_e2 = greatest(held.filled_e2, %(filled)s),
       expires_us = coalesce(%(expires_us)s, held.expires_us),
       sent_us = coalesce(held.sent_us, %(sent_us)s),
       answered_us = coalesce(held.answered_us, %(answered_us)s),
       ended_us = coalesce(held.ended_us, %(ended_us)s),
       updated_ns = greatest(held.updated_ns, %(now_ns)s)
  FROM (SELECT id, status = ANY (%(ends)s) AND %(status)s <> 'filled' AS kept
          FROM rl_orders WHERE client_order_id = %(client_order_id)s) AS before
 WHERE held.id = before.id
RETURNING held.id;

-- name: stamp
-- Moments of an order that are known exactly; one that is null stays. Returns: id, or no row where there is no order.
UPDATE rl_orders
   SET sent_us = coalesce(%(sent_us)s, sent_us), answered_us = coalesce(%(answered_us)s, answered_us),
       reached_us = coalesce(%(reached_us)s, reached_us), cancel_sent_us = coalesce(%(cancel_sent_us)s, cancel_sent_us),
       cancel_answered_us = coalesce(%(cancel_answered_us)s, cancel_answered_us),
       cancelled_us = coalesce(%(cancelled_us)s, cancelled_us)
 WHERE client_order_id = %(client_order_id)s
RETURNING id;

-- name: fill
-- A part of an order was filled; once more is no error. Returns: id of the order, or no row where there is none.
WITH filled AS (
    SELECT id, venue FROM rl_orders WHERE client_order_id = %(client_order_id)s
), booked AS (
    INSERT INTO rl_fills (order_id, venue, trade_id, price_e4, size_e2, fee_e6, is_taker, venue_us, recv_ns)
    SELECT id, venue, %(trade)s, %(price)s, %(size)s, %(fee)s, %(taker)s, %(venue_us)s, %(now_ns)s FROM filled
    ON CONFLICT (venue, trade_id, order_id) DO NOTHING
)
SELECT id FROM filled;

-- name: decided
-- A decision; once more is no error.
INSERT INTO rl_trading_actions (
    run, market_id, client_order_id, action_timestamp_ms, decided_us, step_number, action_type, side, price_e4,
    quantity_e2, position_before_e2, book_version, observation, refusal)
VALUES (
    %(run)s, %(market_id)s, %(client_order_id)s, %(decided_us)s / 1000, %(decided_us)s, %(number)s, %(action)s,
    %(side)s, %(price)s, %(size)s, %(position)s, %(book_version)s, %(observation)s, %(refusal)s)
ON CONFLICT (run, step_number) WHERE run IS NOT NULL DO NOTHING;

-- name: held
-- What the venue said that the account has. Returns: id.
INSERT INTO rl_actor_holdings (run, venue_us, cash_e6, positions)
VALUES (%(run)s, %(venue_us)s, %(cash)s, %(positions)s)
RETURNING id;

-- name: known
-- Every order of actors at a venue, in the order of storing. Returns: the names below, and the ticker as market.
SELECT o.client_order_id::text, o.run, o.number, market.ticker AS market, o.action, o.side, o.price_e4 AS price,
       o.size_e2 AS size, o.immediate, o.reduce_only, o.expires_us, o.until_us, o.decided_us, o.book_version, o.observation,
       o.epoch, o.limits, o.status, o.venue_order_id, coalesce(o.reason, '') AS reason, o.updated_ns
  FROM rl_orders AS o JOIN rl_markets AS market ON market.id = o.market_id
 WHERE o.venue = %(venue)s AND o.run IS NOT NULL AND o.created_ns >= %(since_ns)s
 ORDER BY o.id;

-- name: fills
-- Fills of the orders of actors at a venue, in the order of storing; all where a limit is 0. Returns: client_order_id,
-- market, side, trade, us, price, size, fee, taker.
SELECT o.client_order_id::text, market.ticker AS market, o.side, fill.trade_id AS trade,
       coalesce(fill.venue_us, fill.recv_ns / 1000) AS us, fill.price_e4 AS price, fill.size_e2 AS size,
       fill.fee_e6 AS fee, fill.is_taker AS taker
  FROM rl_fills AS fill
  JOIN rl_orders AS o ON o.id = fill.order_id
  JOIN rl_markets AS market ON market.id = o.market_id
 WHERE o.venue = %(venue)s AND o.run IS NOT NULL AND o.created_ns >= %(since_ns)s
   AND coalesce(fill.venue_us, fill.recv_ns / 1000) >= %(since_us)s
 ORDER BY fill.id;

-- name: find_runs
-- Runs whose id begins so, the latest first; all where it is empty. Returns: run, venue, strategy, started_ns.
SELECT run, venue, strategy, started_ns
  FROM rl_actor_runs
 WHERE starts_with(run::text, %(prefix)s)
 ORDER BY started_ns DESC
 LIMIT 2;

-- name: run_orders
-- The orders of a run that left (or were found at the venue), in the order of storing. Returns: the columns that tables._Row names.
SELECT o.id, o.client_order_id::text, o.venue_order_id, market.ticker AS market, o.side, o.price_e4 AS price,
       o.size_e2 AS size, o.immediate, o.reduce_only, o.expires_us, o.status, coalesce(o.reason, '') AS reason,
       o.decided_us, o.sent_us, o.answered_us, o.reached_us, o.cancel_sent_us, o.cancel_answered_us,
       o.cancelled_us, o.ended_us
  FROM rl_orders AS o JOIN rl_markets AS market ON market.id = o.market_id
 WHERE o.run = %(run)s AND (o.sent_us IS NOT NULL OR o.venue_order_id IS NOT NULL)
 ORDER BY o.id;

-- name: run_fills
-- The fills of a run. Returns: order_id, trade, us, price, size, taker, fee.
SELECT fill.order_id, fill.trade_id AS trade, coalesce(fill.venue_us, fill.recv_ns / 1000) AS us,
       fill.price_e4 AS price, fill.size_e2 AS size, fill.is_taker AS taker, fill.fee_e6 AS fee
  FROM rl_fills AS fill JOIN rl_orders AS o ON o.id = fill.order_id
 WHERE o.run = %(run)s
 ORDER BY coalesce(fill.venue_us, fill.recv_ns / 1000), fill.id;

-- name: run_holdings
-- What the account of a run had, at first and at last. Returns: venue_us, cash, positions.
SELECT venue_us, cash_e6 AS cash, positions
  FROM rl_actor_holdings
 WHERE id IN (SELECT min(id) FROM rl_actor_holdings WHERE run = %(run)s
              UNION SELECT max(id) FROM rl_actor_holdings WHERE run = %(run)s)
 ORDER BY id;

-- name: run_settlements
-- What was paid for a YES contract in the markets of a run, where that is known. Returns: ticker, value.
SELECT DISTINCT market.ticker, market.settlement_value_e4 AS value
  FROM rl_markets AS market JOIN rl_orders AS o ON o.market_id = market.id
 WHERE o.run = %(run)s AND market.settlement_value_e4 IS NOT NULL;
