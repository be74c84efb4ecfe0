-- The tables as the requirements name their columns: cents and contracts, asks beside bids, times in milliseconds.
-- Cents are numeric, because the venue's ticks go below a cent. Beside the named columns each view shows the exact ones.

-- Levels as JSON: [[price in cents, contracts], ...], best first. `as_asks` reads NO bids as YES asks and the reverse.
CREATE FUNCTION kflow_levels_cents(prices smallint[], sizes bigint[], as_asks boolean) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (
    SELECT coalesce(jsonb_agg(jsonb_build_array(
               round(CASE WHEN as_asks THEN 10000 - level.price ELSE level.price END / 100.0, 2),
               round(level.size / 100.0, 2)
           ) ORDER BY level.price DESC), '[]')
      FROM unnest(prices, sizes) AS level (price, size)
);

CREATE VIEW rl_orderbook_deltas_cents AS
SELECT format('%s-%s-%s-%s', delta.session_id, delta.connection, delta.sid, delta.seq) AS id,
       market.ticker AS market_ticker,
       -- The venue's clock; where the message carried no time, the time of receipt.
       coalesce(delta.venue_us / 1000, delta.recv_ns / 1000000) AS timestamp_ms,
       delta.seq AS sequence_number,
       CASE delta.side WHEN 0 THEN 'yes' ELSE 'no' END AS side,
       CASE WHEN delta.size_e2 IS NULL THEN NULL
            WHEN delta.size_e2 = 0 THEN 'remove'
            WHEN delta.size_e2 = delta.delta_e2 THEN 'add'
            ELSE 'update' END AS action,
       round(delta.price_e4 / 100.0, 2) AS price,
       round((delta.size_e2 - delta.delta_e2) / 100.0, 2) AS old_size,
       round(delta.size_e2 / 100.0, 2) AS new_size,
       delta.session_id, delta.connection, delta.sid, delta.venue_us, delta.recv_ns
  FROM rl_orderbook_deltas AS delta
  JOIN rl_markets AS market ON market.id = delta.market_id;

CREATE VIEW rl_orderbook_snapshots_cents AS
SELECT format('%s-%s-%s-%s', book.session_id, book.connection, book.sid, book.seq) AS id,
       market.ticker AS market_ticker,
       coalesce(book.venue_ms, book.recv_ns / 1000000) AS timestamp_ms,
       book.seq AS sequence_number,
       kflow_levels_cents(book.yes_prices, book.yes_sizes, false) AS yes_bids,
       kflow_levels_cents(book.no_prices, book.no_sizes, true) AS yes_asks,
       kflow_levels_cents(book.no_prices, book.no_sizes, false) AS no_bids,
       kflow_levels_cents(book.yes_prices, book.yes_sizes, true) AS no_asks,
       -- Null where a side is empty. A spread is the same seen from either side.
       round((10000 - best.no_bid - best.yes_bid) / 100.0, 2) AS yes_spread,
       round((10000 - best.no_bid - best.yes_bid) / 100.0, 2) AS no_spread,
       round((10000 - best.no_bid + best.yes_bid) / 200.0, 3) AS yes_mid_price,
       round((10000 - best.yes_bid + best.no_bid) / 200.0, 3) AS no_mid_price,
       book.reason, book.session_id, book.connection, book.sid, book.venue_ms, book.recv_ns
  FROM rl_orderbook_snapshots AS book
  JOIN rl_markets AS market ON market.id = book.market_id
 CROSS JOIN LATERAL (SELECT book.yes_prices[cardinality(book.yes_prices)]::integer AS yes_bid,
                            book.no_prices[cardinality(book.no_prices)]::integer AS no_bid) AS best;

CREATE VIEW rl_trading_actions_cents AS
SELECT action.id, action.episode_id, action.action_timestamp_ms, action.step_number, action.action_type,
       round(action.price_e4 / 100.0, 2) AS price,
       round(action.quantity_e2 / 100.0, 2) AS quantity,
       round(action.position_before_e2 / 100.0, 2) AS position_before,
       round(action.position_after_e2 / 100.0, 2) AS position_after,
       market.ticker AS market_ticker, action.session_id, action.order_id, action.reward, action.refusal
  FROM rl_trading_actions AS action
  LEFT JOIN rl_markets AS market ON market.id = action.market_id;
