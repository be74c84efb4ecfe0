-- Who may do what. Three roles without login; give them to login roles of your own:
--   kflow_owner   owns everything, runs migrations      kflow_writer   records      kflow_reader   looks
-- Roles belong to the whole server. Where the migrating user may not create them, they are left out: that user then
-- owns and may do everything, as before.
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['kflow_owner', 'kflow_writer', 'kflow_reader'] LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = wanted);
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
        EXCEPTION -- another database of this server is being migrated at this moment
            WHEN duplicate_object OR unique_violation THEN NULL;
        END;
    END LOOP;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE NOTICE 'roles kflow_owner, kflow_writer and kflow_reader are left out: % may not create roles', current_user;
END
$$;

-- Hands every table, view, sequence and function of kflow to kflow_owner, as far as the caller may. Migrations that add
-- some end with it.
CREATE PROCEDURE kflow_hand_over()
    LANGUAGE plpgsql
AS $$
DECLARE
    object record;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'kflow_owner') THEN
        RETURN;
    END IF;
    GRANT USAGE, CREATE ON SCHEMA public TO kflow_owner;
    FOR object IN
        SELECT format('ALTER TABLE public.%I OWNER TO kflow_owner', relname) AS command
          FROM pg_class
         WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v')
           AND (relname LIKE 'rl\_%' OR relname = 'schema_migrations')
        UNION ALL
        SELECT format('ALTER ROUTINE %s OWNER TO kflow_owner', oid::regprocedure)
          FROM pg_proc
         WHERE pronamespace = 'public'::regnamespace AND proname LIKE 'kflow\_%'
    LOOP
        EXECUTE object.command;
    END LOOP;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE NOTICE '% stays the owner of kflow''s tables', current_user;
END
$$;

REVOKE ALL ON PROCEDURE kflow_hand_over() FROM PUBLIC;
REVOKE ALL ON FUNCTION kflow_ensure_day(bigint) FROM PUBLIC;

DO $$
BEGIN
    IF (SELECT count(*) FROM pg_roles WHERE rolname IN ('kflow_owner', 'kflow_writer', 'kflow_reader')) < 3 THEN
        RETURN;
    END IF;
    GRANT USAGE ON SCHEMA public TO kflow_writer, kflow_reader;
    GRANT SELECT ON
        schema_migrations, rl_sessions, rl_connections, rl_markets, rl_session_markets, rl_watermarks,
        rl_orderbook_deltas, rl_orderbook_snapshots, rl_trades, rl_tickers, rl_frames, rl_gaps,
        rl_models, rl_trading_episodes, rl_trading_actions, rl_orders, rl_fills,
        rl_orderbook_deltas_cents, rl_orderbook_snapshots_cents, rl_trading_actions_cents
        TO kflow_writer, kflow_reader;
    -- Facts are added, never changed or removed. What may change is named column by column.
    GRANT INSERT ON
        rl_sessions, rl_connections, rl_markets, rl_session_markets, rl_watermarks,
        rl_orderbook_deltas, rl_orderbook_snapshots, rl_trades, rl_tickers, rl_frames, rl_gaps,
        rl_models, rl_trading_episodes, rl_trading_actions, rl_orders, rl_fills
        TO kflow_writer;
    GRANT UPDATE (ended_ns, state) ON rl_sessions TO kflow_writer;
    GRANT UPDATE (closed_ns, reason) ON rl_connections TO kflow_writer;
    GRANT UPDATE (market_id, event_ticker, series_ticker, price_ranges, fee_type, fee_multiplier, status, open_time,
                  close_time, result, settlement_value_e4, exchange_index, info, updated_ns)
        ON rl_markets TO kflow_writer;
    GRANT UPDATE (journal_offset, updated_at) ON rl_watermarks TO kflow_writer;
    GRANT UPDATE (ended_ns) ON rl_gaps TO kflow_writer;
    GRANT UPDATE (training_metrics, status, path, sha256, updated_ns) ON rl_models TO kflow_writer;
    GRANT UPDATE (ended_ns, steps, final_equity_e6, fees_e6, total_return, sharpe_ratio, max_drawdown, metrics)
        ON rl_trading_episodes TO kflow_writer;
    GRANT UPDATE (venue_order_id, filled_e2, status, reason, updated_ns) ON rl_orders TO kflow_writer;
    GRANT EXECUTE ON FUNCTION kflow_ensure_day(bigint) TO kflow_writer;
END
$$;

CALL kflow_hand_over();
