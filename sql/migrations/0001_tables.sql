-- The tables. Units are in the names: _e4 is 1e-4 dollar, _e2 is 1e-2 contract, _e6 is 1e-6 dollar; _ns and _us are
-- nanoseconds and microseconds since 1970, UTC. recv_ns is this machine's clock when the socket was read; venue_us and
-- venue_ms are the venue's clock, null where the message carried none. Null always means unknown.

-- One row per run of `kflow ingest`. Counts, gaps and coverage are never stored here: they are read from the rows.
-- People write these numbers (--sessions 1-40), so they have no holes: a sequence would skip some after every crash.
CREATE TABLE rl_sessions (
    id              integer PRIMARY KEY CHECK (id > 0),
    uuid            uuid    NOT NULL UNIQUE,
    started_ns      bigint  NOT NULL,
    ended_ns        bigint,
    environment     text    NOT NULL,
    use_yes_price   boolean NOT NULL,
    sample_rate     integer NOT NULL DEFAULT 1 CHECK (sample_rate >= 1),
    kflow_version   text    NOT NULL,
    host            text    NOT NULL,
    journal_dir     text    NOT NULL,
    selection       jsonb   NOT NULL,
    state           text    NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'closed', 'recovered'))
);

-- One row per socket connection of a session; `connection` counts from 1.
CREATE TABLE rl_connections (
    session_id      integer NOT NULL REFERENCES rl_sessions,
    connection      integer NOT NULL,
    opened_ns       bigint  NOT NULL,
    closed_ns       bigint,
    reason          text,
    url             text    NOT NULL,
    PRIMARY KEY (session_id, connection)
);

-- What is known of each market ever recorded, as of updated_ns. `info` is the venue's own JSON, whole.
CREATE TABLE rl_markets (
    id                  integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ticker              text    NOT NULL UNIQUE,
    market_id           uuid,
    event_ticker        text,
    series_ticker       text,
    price_ranges        jsonb,
    fee_type            text,
    fee_multiplier      numeric,
    status              text,
    open_time           timestamptz,
    close_time          timestamptz,
    result              text,
    settlement_value_e4 smallint CHECK (settlement_value_e4 BETWEEN 0 AND 10000),
    exchange_index      integer,
    info                jsonb,
    updated_ns          bigint  NOT NULL
);
CREATE INDEX rl_markets_event ON rl_markets (event_ticker);

CREATE TABLE rl_session_markets (
    session_id      integer NOT NULL REFERENCES rl_sessions,
    market_id       integer NOT NULL REFERENCES rl_markets,
    PRIMARY KEY (session_id, market_id)
);
CREATE INDEX rl_session_markets_market ON rl_session_markets (market_id);

-- How far a session's journal has been loaded. Moves in the transaction that stores the rows, so that each journal
-- record becomes rows exactly once.
CREATE TABLE rl_watermarks (
    session_id      integer NOT NULL REFERENCES rl_sessions,
    shard           integer NOT NULL DEFAULT 0,
    journal_offset  bigint  NOT NULL CHECK (journal_offset >= 0),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (session_id, shard)
);

-- One row per order book change. Wide columns first: no padding. Identified by (session_id, connection, sid, seq);
-- deliberately without a unique index, the watermark keeps rows unique. No foreign keys: this is the hot table.
CREATE TABLE rl_orderbook_deltas (
    recv_ns         bigint   NOT NULL,
    venue_us        bigint,
    seq             bigint   NOT NULL,
    delta_e2        bigint   NOT NULL, -- signed change of the level, as sent
    size_e2         bigint CHECK (size_e2 >= 0), -- of the level afterwards; null where the book was not live
    session_id      integer  NOT NULL,
    connection      integer  NOT NULL,
    sid             integer  NOT NULL,
    market_id       integer  NOT NULL,
    price_e4        smallint NOT NULL CHECK (price_e4 BETWEEN 0 AND 10000),
    side            smallint NOT NULL CHECK (side IN (0, 1)), -- 0 YES, 1 NO
    flags           smallint NOT NULL
) PARTITION BY RANGE (recv_ns);
CREATE INDEX rl_orderbook_deltas_time ON rl_orderbook_deltas
    USING brin (recv_ns, session_id) WITH (autosummarize = on);
CREATE INDEX rl_orderbook_deltas_market ON rl_orderbook_deltas (market_id, recv_ns);

-- One row per whole book. Levels ascend by price; prices and sizes run in parallel; bids only.
CREATE TABLE rl_orderbook_snapshots (
    recv_ns         bigint   NOT NULL,
    venue_ms        bigint,
    seq             bigint   NOT NULL,
    session_id      integer  NOT NULL,
    connection      integer  NOT NULL,
    sid             integer  NOT NULL,
    market_id       integer  NOT NULL,
    flags           smallint NOT NULL,
    reason          text     NOT NULL, -- subscribe, resync, check, venue
    yes_prices      smallint[] NOT NULL, -- price_e4
    yes_sizes       bigint[] NOT NULL, -- size_e2
    no_prices       smallint[] NOT NULL,
    no_sizes        bigint[] NOT NULL,
    CHECK (cardinality(yes_prices) = cardinality(yes_sizes) AND cardinality(no_prices) = cardinality(no_sizes))
) PARTITION BY RANGE (recv_ns);
-- Compressing the arrays costs the server six times as much as storing them.
ALTER TABLE rl_orderbook_snapshots
    ALTER COLUMN yes_prices SET STORAGE EXTERNAL, ALTER COLUMN yes_sizes SET STORAGE EXTERNAL,
    ALTER COLUMN no_prices SET STORAGE EXTERNAL, ALTER COLUMN no_sizes SET STORAGE EXTERNAL;
CREATE INDEX rl_orderbook_snapshots_time ON rl_orderbook_snapshots
    USING brin (recv_ns, session_id) WITH (autosummarize = on);
CREATE INDEX rl_orderbook_snapshots_market ON rl_orderbook_snapshots (market_id, recv_ns);

-- Public trades. price_e4 is the YES price; taker is the side the taker bought.
CREATE TABLE rl_trades (
    recv_ns         bigint   NOT NULL,
    venue_ms        bigint,
    seq             bigint,
    size_e2         bigint   NOT NULL,
    session_id      integer  NOT NULL,
    connection      integer  NOT NULL,
    sid             integer  NOT NULL,
    market_id       integer  NOT NULL,
    price_e4        smallint NOT NULL CHECK (price_e4 BETWEEN 0 AND 10000),
    taker           smallint CHECK (taker IN (0, 1)),
    is_block        boolean,
    trade_id        text
) PARTITION BY RANGE (recv_ns);
CREATE INDEX rl_trades_time ON rl_trades USING brin (recv_ns, session_id) WITH (autosummarize = on);
CREATE INDEX rl_trades_market ON rl_trades (market_id, recv_ns);

-- The venue's own top of book and totals. A price of 0 or 10000 is the venue's "none".
CREATE TABLE rl_tickers (
    recv_ns         bigint   NOT NULL,
    venue_ms        bigint,
    seq             bigint,
    yes_bid_size_e2 bigint,
    yes_ask_size_e2 bigint,
    volume_e2       bigint,
    open_interest_e2 bigint,
    session_id      integer  NOT NULL,
    connection      integer  NOT NULL,
    sid             integer  NOT NULL,
    market_id       integer  NOT NULL,
    last_e4         smallint CHECK (last_e4 BETWEEN 0 AND 10000),
    yes_bid_e4      smallint CHECK (yes_bid_e4 BETWEEN 0 AND 10000),
    yes_ask_e4      smallint CHECK (yes_ask_e4 BETWEEN 0 AND 10000)
) PARTITION BY RANGE (recv_ns);
CREATE INDEX rl_tickers_time ON rl_tickers USING brin (recv_ns, session_id) WITH (autosummarize = on);
CREATE INDEX rl_tickers_market ON rl_tickers (market_id, recv_ns);

-- Every frame that is neither book, trade nor ticker: acks, errors, lifecycle, unknown and malformed ones, as they came.
CREATE TABLE rl_frames (
    recv_ns         bigint   NOT NULL,
    seq             bigint,
    session_id      integer  NOT NULL,
    connection      integer  NOT NULL,
    sid             integer,
    kind            text     NOT NULL,
    market          text, -- ticker, where the frame names one
    raw             bytea    NOT NULL
) PARTITION BY RANGE (recv_ns);
CREATE INDEX rl_frames_time ON rl_frames USING brin (recv_ns, session_id) WITH (autosummarize = on);

-- Whatever was missing, extra or not to be trusted. sid null: the whole connection; market_id null: every market of
-- the sid. ended_ns: when the last book concerned was live again; null while it is not.
CREATE TABLE rl_gaps (
    recv_ns         bigint   NOT NULL,
    expected        bigint,
    received        bigint,
    ended_ns        bigint,
    session_id      integer  NOT NULL,
    connection      integer  NOT NULL,
    sid             integer,
    market_id       integer,
    kind            text     NOT NULL,
    detail          text     NOT NULL
);
CREATE INDEX rl_gaps_session ON rl_gaps (session_id, connection);

-- The model registry. Weights live in files; sha256 says which.
CREATE TABLE rl_models (
    id                  integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model_name          text    NOT NULL,
    version             integer NOT NULL,
    algorithm           text    NOT NULL,
    market_ticker       text, -- null: trained for any market
    hyperparameters     jsonb   NOT NULL DEFAULT '{}',
    training_metrics    jsonb   NOT NULL DEFAULT '{}',
    status              text    NOT NULL DEFAULT 'training' CHECK (status IN ('training', 'active', 'retired')),
    path                text,
    sha256              bytea CHECK (octet_length(sha256) = 32),
    created_ns          bigint  NOT NULL,
    updated_ns          bigint  NOT NULL,
    UNIQUE (model_name, version)
);

-- One row per episode of training or evaluation. Ratios are reports, so they are floating point; money is not.
CREATE TABLE rl_trading_episodes (
    id                  bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model_id            integer REFERENCES rl_models,
    episode_number      integer NOT NULL,
    session_id          integer REFERENCES rl_sessions,
    market_ticker       text,
    started_ns          bigint,
    ended_ns            bigint,
    steps               bigint,
    initial_cash_e6     bigint,
    final_equity_e6     bigint,
    fees_e6             bigint,
    total_return        double precision,
    sharpe_ratio        double precision,
    max_drawdown        double precision,
    metrics             jsonb   NOT NULL DEFAULT '{}'
);
CREATE INDEX rl_trading_episodes_model ON rl_trading_episodes (model_id, episode_number);

-- One row per order that kflow placed or meant to place, on paper or on a venue.
CREATE TABLE rl_orders (
    id                  bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    client_order_id     uuid    NOT NULL UNIQUE,
    venue               text    NOT NULL, -- paper, local, demo, production
    venue_order_id      text,
    session_id          integer REFERENCES rl_sessions,
    market_id           integer NOT NULL REFERENCES rl_markets,
    side                smallint NOT NULL CHECK (side IN (0, 1)), -- 0 YES, 1 NO
    direction           smallint NOT NULL CHECK (direction IN (0, 1)), -- 0 buy, 1 sell
    price_e4            smallint CHECK (price_e4 BETWEEN 0 AND 10000), -- of `side`; null: a market order
    size_e2             bigint  NOT NULL CHECK (size_e2 > 0),
    filled_e2           bigint  NOT NULL DEFAULT 0 CHECK (filled_e2 BETWEEN 0 AND size_e2),
    status              text    NOT NULL,
    reason              text,
    created_ns          bigint  NOT NULL,
    updated_ns          bigint  NOT NULL
);
CREATE INDEX rl_orders_market ON rl_orders (market_id, created_ns);
CREATE UNIQUE INDEX rl_orders_venue ON rl_orders (venue, venue_order_id) WHERE venue_order_id IS NOT NULL;

-- One row per execution. The venue's trade id makes applying one twice impossible.
CREATE TABLE rl_fills (
    id                  bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id            bigint  NOT NULL REFERENCES rl_orders,
    venue               text    NOT NULL,
    trade_id            text    NOT NULL,
    price_e4            smallint NOT NULL CHECK (price_e4 BETWEEN 0 AND 10000),
    size_e2             bigint  NOT NULL CHECK (size_e2 > 0),
    fee_e6              bigint  NOT NULL,
    is_taker            boolean NOT NULL,
    venue_us            bigint,
    recv_ns             bigint  NOT NULL,
    UNIQUE (venue, trade_id, order_id)
);
CREATE INDEX rl_fills_order ON rl_fills (order_id);

-- One row per decision: what the policy wanted, in which position, and what became of it.
CREATE TABLE rl_trading_actions (
    id                  bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    episode_id          bigint REFERENCES rl_trading_episodes,
    session_id          integer REFERENCES rl_sessions,
    market_id           integer REFERENCES rl_markets,
    order_id            bigint REFERENCES rl_orders,
    action_timestamp_ms bigint  NOT NULL, -- event time
    step_number         bigint  NOT NULL,
    action_type         text    NOT NULL,
    price_e4            smallint CHECK (price_e4 BETWEEN 0 AND 10000),
    quantity_e2         bigint,
    position_before_e2  bigint,
    position_after_e2   bigint,
    reward              double precision,
    refusal             text -- why no order left; null where one did or none was wanted
);
CREATE INDEX rl_trading_actions_episode ON rl_trading_actions (episode_id, step_number);
