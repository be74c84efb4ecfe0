-- What an actor writes down: its runs, what the venue said its account had, and of every order and decision all that
-- it takes to explain it later.

-- One row per run of `kflow actor`.
CREATE TABLE rl_actor_runs (
    run             uuid    PRIMARY KEY,
    venue           text    NOT NULL, -- paper, local, demo, production
    epoch           bigint  NOT NULL, -- of its lease
    strategy        text    NOT NULL,
    model_sha256    text, -- of a model's weights; null where none decides
    limits          text    NOT NULL, -- SHA-256 of the limits file it began with
    kflow_version   text    NOT NULL,
    host            text    NOT NULL,
    started_ns      bigint  NOT NULL,
    ended_ns        bigint,
    ended           text -- why; null while it runs, and where it died
);
CREATE INDEX rl_actor_runs_venue ON rl_actor_runs (venue, started_ns);

-- One row per look at an account of a run: all its cash, what resting orders hold back included, and its positions as
-- {ticker: contracts, 1e-2, YES positive}.
CREATE TABLE rl_actor_holdings (
    id              bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run             uuid    NOT NULL REFERENCES rl_actor_runs,
    venue_us        bigint  NOT NULL,
    cash_e6         bigint  NOT NULL,
    positions       jsonb   NOT NULL
);
CREATE INDEX rl_actor_holdings_run ON rl_actor_holdings (run, venue_us);

-- Null in all of these: no order of an actor. sent_us to ended_us are the actor's clock; null: did not happen, or nobody
-- knows when.
ALTER TABLE rl_orders
    ADD COLUMN run                uuid REFERENCES rl_actor_runs,
    ADD COLUMN number             bigint, -- of the run's decisions in this market
    ADD COLUMN action             text,
    ADD COLUMN immediate          boolean, -- what is not filled at once is over
    ADD COLUMN reduce_only        boolean,
    ADD COLUMN expires_us         bigint, -- when the venue ends it by itself, as last renewed
    ADD COLUMN until_us           bigint, -- up to when it is renewed
    ADD COLUMN decided_us         bigint, -- the venue's time of the book it was decided on
    ADD COLUMN book_version       bigint, -- of that book
    ADD COLUMN observation        text, -- digest of what the policy saw
    ADD COLUMN limits             text, -- SHA-256 of the limits that let it pass
    ADD COLUMN shard              integer, -- of the venue: its exchange_index
    ADD COLUMN order_group        text, -- that the venue cancels as one
    ADD COLUMN sent_us            bigint,
    ADD COLUMN answered_us        bigint,
    ADD COLUMN reached_us         bigint, -- the venue's time of taking it
    ADD COLUMN cancel_sent_us     bigint,
    ADD COLUMN cancel_answered_us bigint,
    ADD COLUMN ended_us           bigint; -- when the actor knew that it was over, other than by fills
CREATE INDEX rl_orders_run ON rl_orders (run, id) WHERE run IS NOT NULL;

-- Null in all of these: no decision of an actor. `refusal` says why no order left: a check of the guard, or the codec.
ALTER TABLE rl_trading_actions
    ADD COLUMN run              uuid REFERENCES rl_actor_runs,
    ADD COLUMN client_order_id  uuid, -- of the order that it became
    ADD COLUMN side             smallint CHECK (side IN (0, 1)), -- that was to be bought; price_e4 is of it
    ADD COLUMN decided_us       bigint,
    ADD COLUMN book_version     bigint,
    ADD COLUMN observation      text;
CREATE UNIQUE INDEX rl_trading_actions_run ON rl_trading_actions (run, step_number) WHERE run IS NOT NULL;

DO $$
BEGIN
    IF (SELECT count(*) FROM pg_roles WHERE rolname IN ('kflow_owner', 'kflow_writer', 'kflow_reader')) < 3 THEN
        RETURN;
    END IF;
    GRANT SELECT ON rl_actor_runs, rl_actor_holdings TO kflow_writer, kflow_reader;
    GRANT INSERT ON rl_actor_runs, rl_actor_holdings TO kflow_writer;
    GRANT UPDATE (ended_ns, ended) ON rl_actor_runs TO kflow_writer;
    GRANT UPDATE (expires_us, sent_us, answered_us, reached_us, cancel_sent_us, cancel_answered_us, ended_us)
        ON rl_orders TO kflow_writer;
END
$$;

CALL kflow_hand_over();
