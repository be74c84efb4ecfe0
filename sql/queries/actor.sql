-- Queries of kflow/act/lease.py and kflow/act/kill.py.

-- name: patience
-- How long the server may take for each of these, in ms: to be told late is to have lost.
SELECT set_config('statement_timeout', %(ms)s::text, false);

-- name: acquire
-- The lease of a venue with the next epoch, where nobody holds it any more. Returns: epoch, or no row.
INSERT INTO rl_actor_leases AS held (venue, epoch, holder, taken_at, expires_at)
VALUES (%(venue)s, 1, %(holder)s, clock_timestamp(), clock_timestamp() + make_interval(secs => %(ttl_s)s))
ON CONFLICT (venue) DO UPDATE
   SET epoch = held.epoch + 1, holder = %(holder)s, taken_at = clock_timestamp(),
       expires_at = clock_timestamp() + make_interval(secs => %(ttl_s)s)
 WHERE held.expires_at <= clock_timestamp()
RETURNING epoch;

-- name: held
-- Who holds the lease of a venue. Returns: epoch, holder, left_s.
SELECT epoch, holder, extract(epoch FROM expires_at - clock_timestamp())::float8 AS left_s
  FROM rl_actor_leases
 WHERE venue = %(venue)s;

-- name: renew
-- A lease that is held still is held for longer. Returns: epoch, or no row.
UPDATE rl_actor_leases
   SET expires_at = clock_timestamp() + make_interval(secs => %(ttl_s)s)
 WHERE venue = %(venue)s AND epoch = %(epoch)s AND expires_at > clock_timestamp()
RETURNING epoch;

-- name: release
-- A lease is given back; its epoch stays. Returns: epoch, or no row.
UPDATE rl_actor_leases
   SET expires_at = clock_timestamp()
 WHERE venue = %(venue)s AND epoch = %(epoch)s AND expires_at > clock_timestamp()
RETURNING epoch;

-- name: known
-- Orders that actors of ours decided for a venue: all that are not over, and those of the last weeks; a venue does not
-- show older ones. Returns: client_order_id, market, status, venue_order_id.
SELECT orders.client_order_id::text, markets.ticker AS market, orders.status, orders.venue_order_id
  FROM rl_orders AS orders
  JOIN rl_markets AS markets ON markets.id = orders.market_id
 WHERE orders.venue = %(venue)s
   AND (orders.status <> ALL (%(ends)s::text[]) OR orders.created_ns >= %(since_ns)s);
