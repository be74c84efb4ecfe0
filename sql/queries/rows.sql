-- Queries of kflow/store/read.py. In each, a filter that is null lets every row pass.

-- name: deltas
-- Order book changes of a session, by subscription in the venue's order. -2^63 stands for an unknown time or size, so
-- that every row has the same width. Returns: the fields of read.DELTA, in its order.
COPY (
    SELECT recv_ns, coalesce(venue_us, -9223372036854775808), seq, delta_e2, coalesce(size_e2, -9223372036854775808),
           connection, sid, market_id, price_e4, side, flags
      FROM rl_orderbook_deltas
     WHERE session_id = %(session_id)s
       AND (%(market_ids)s::integer[] IS NULL OR market_id = ANY (%(market_ids)s))
       AND (%(start_ns)s::bigint IS NULL OR recv_ns >= %(start_ns)s)
       AND (%(end_ns)s::bigint IS NULL OR recv_ns < %(end_ns)s)
     ORDER BY connection, sid, seq
) TO STDOUT (FORMAT BINARY);

-- name: snapshots
-- Whole books of a session, by subscription in the venue's order. Returns: the columns of copy.SNAPSHOTS.
SELECT recv_ns, venue_ms, seq, session_id, connection, sid, market_id, flags, reason, yes_prices, yes_sizes, no_prices,
       no_sizes
  FROM rl_orderbook_snapshots
 WHERE session_id = %(session_id)s
   AND (%(market_ids)s::integer[] IS NULL OR market_id = ANY (%(market_ids)s))
   AND (%(start_ns)s::bigint IS NULL OR recv_ns >= %(start_ns)s)
   AND (%(end_ns)s::bigint IS NULL OR recv_ns < %(end_ns)s)
 ORDER BY connection, sid, seq;

-- name: trades
-- Trades of a session, per connection in the order of receipt. Returns: the columns of copy.TRADES.
SELECT recv_ns, venue_ms, seq, size_e2, session_id, connection, sid, market_id, price_e4, taker, is_block, trade_id
  FROM rl_trades
 WHERE session_id = %(session_id)s
   AND (%(market_ids)s::integer[] IS NULL OR market_id = ANY (%(market_ids)s))
   AND (%(start_ns)s::bigint IS NULL OR recv_ns >= %(start_ns)s)
   AND (%(end_ns)s::bigint IS NULL OR recv_ns < %(end_ns)s)
 ORDER BY connection, recv_ns, sid, seq;

-- name: tickers
-- Tops of book of a session, per connection in the order of receipt. Returns: the columns of copy.TICKERS.
SELECT recv_ns, venue_ms, seq, yes_bid_size_e2, yes_ask_size_e2, volume_e2, open_interest_e2, session_id, connection,
       sid, market_id, last_e4, yes_bid_e4, yes_ask_e4
  FROM rl_tickers
 WHERE session_id = %(session_id)s
   AND (%(market_ids)s::integer[] IS NULL OR market_id = ANY (%(market_ids)s))
   AND (%(start_ns)s::bigint IS NULL OR recv_ns >= %(start_ns)s)
   AND (%(end_ns)s::bigint IS NULL OR recv_ns < %(end_ns)s)
 ORDER BY connection, recv_ns, sid, seq;

-- name: frames
-- All other frames of a session, per connection in the order of receipt. market_ids must be null: frames name markets
-- by ticker, if at all. Returns: the columns of copy.FRAMES.
SELECT recv_ns, seq, session_id, connection, sid, kind, market, raw
  FROM rl_frames
 WHERE session_id = %(session_id)s
   AND %(market_ids)s::integer[] IS NULL
   AND (%(start_ns)s::bigint IS NULL OR recv_ns >= %(start_ns)s)
   AND (%(end_ns)s::bigint IS NULL OR recv_ns < %(end_ns)s)
 ORDER BY connection, recv_ns, sid, seq;

-- name: sort_in_memory
-- Sorting a session's rows may take more than the default 4 MB before it goes to disk; ends with the transaction.
SET LOCAL work_mem = '256MB';
