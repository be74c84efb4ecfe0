-- What the writer asks of its session, for connections that die: kflow/record/writer.py.

-- name: forget_lost_transactions
-- A transaction whose client is gone must not hold the watermark's lock for ever.
SET idle_in_transaction_session_timeout = '30s';

-- name: probe_after
-- Seconds of silence after which the server probes whether its client is there; it then holds no lock for a dead one.
SET tcp_keepalives_idle = 10;

-- name: probe_every
-- Seconds between probes.
SET tcp_keepalives_interval = 5;

-- name: probe_times
-- Probes without an answer that end the connection.
SET tcp_keepalives_count = 4;
