-- What every table and column means: psql's \d+ shows it, and docs/tables.md is made of it. A later migration that adds a
-- table or a column comments on it.

-- Columns that mean the same wherever they are.
DO $$
DECLARE
    item record;
BEGIN
    FOR item IN
        SELECT c.relname, a.attname, said.meaning
          FROM (VALUES
            ('session_id', 'run of kflow ingest: rl_sessions'),
            ('connection', 'socket connection of the session, from 1'),
            ('sid', 'the venue''s id of the subscription'),
            ('seq', 'the venue''s number of the frame in its subscription'),
            ('recv_ns', 'when the socket was read: this machine''s clock, ns since 1970'),
            ('venue_us', 'the venue''s time, µs since 1970; null: the message had none'),
            ('venue_ms', 'the venue''s time, ms since 1970; null: the message had none'),
            ('market_id', 'rl_markets'),
            ('market_ticker', 'the market; null: any'),
            ('model_id', 'rl_models'),
            ('evaluation_id', 'rl_evaluations'),
            ('flags', 'bits: 1 the book was not live, so the row was not applied to it'),
            ('run', 'run of kflow actor: rl_actor_runs'),
            ('venue', 'paper, local, demo or production'),
            ('created_ns', 'when the row was made, ns since 1970'),
            ('updated_ns', 'when it was last changed, ns since 1970'),
            ('started_ns', 'ns since 1970'),
            ('host', 'name of the machine'),
            ('kflow_version', 'of the kflow that ran'),
            ('book_version', 'changes of the book, counted, when it was decided on'),
            ('observation', 'beginning of the SHA-256 of what the policy saw'),
            ('decided_us', 'the venue''s time of the book that was decided on, µs since 1970')
          ) AS said (name, meaning)
          JOIN pg_attribute a ON a.attname = said.name AND a.attnum > 0
          JOIN pg_class c ON c.oid = a.attrelid
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
    LOOP
        EXECUTE format('COMMENT ON COLUMN public.%I.%I IS %L', item.relname, item.attname, item.meaning);
    END LOOP;
END
$$;

COMMENT ON TABLE rl_sessions IS 'A run of kflow ingest. Counts, gaps and coverage are read from its rows, never kept here.';
COMMENT ON COLUMN rl_sessions.id IS '1, 2, 3 without holes: what --sessions names';
COMMENT ON COLUMN rl_sessions.uuid IS 'names its journal';
COMMENT ON COLUMN rl_sessions.ended_ns IS 'ns since 1970; null: it runs, or it died and was not recovered yet';
COMMENT ON COLUMN rl_sessions.environment IS 'local, demo or production';
COMMENT ON COLUMN rl_sessions.use_yes_price IS 'whether the venue was asked to send NO levels by their YES price';
COMMENT ON COLUMN rl_sessions.sample_rate IS 'every how many-th delta is in the tables; the journal has all';
COMMENT ON COLUMN rl_sessions.journal_dir IS 'folder of its journal on that machine';
COMMENT ON COLUMN rl_sessions.selection IS 'what it was asked to record';
COMMENT ON COLUMN rl_sessions.state IS 'open; closed: it ended itself; recovered: a later run ended it from its journal';

COMMENT ON TABLE rl_connections IS 'A socket connection of a session.';
COMMENT ON COLUMN rl_connections.opened_ns IS 'ns since 1970';
COMMENT ON COLUMN rl_connections.closed_ns IS 'ns since 1970; null: it stands, or nobody saw its end';
COMMENT ON COLUMN rl_connections.reason IS 'why it ended, in words';
COMMENT ON COLUMN rl_connections.url IS 'where to';

COMMENT ON TABLE rl_markets IS 'A market that was ever recorded, as it was known at updated_ns.';
COMMENT ON COLUMN rl_markets.id IS 'names it in other tables';
COMMENT ON COLUMN rl_markets.ticker IS 'the venue''s name';
COMMENT ON COLUMN rl_markets.market_id IS 'the venue''s id';
COMMENT ON COLUMN rl_markets.event_ticker IS 'its event: what is decided together';
COMMENT ON COLUMN rl_markets.series_ticker IS 'its series';
COMMENT ON COLUMN rl_markets.price_ranges IS 'its grid: ranges of prices and their steps, as the venue sends them';
COMMENT ON COLUMN rl_markets.fee_type IS 'the venue''s name of the formula';
COMMENT ON COLUMN rl_markets.fee_multiplier IS 'of the formula';
COMMENT ON COLUMN rl_markets.status IS 'the venue''s word';
COMMENT ON COLUMN rl_markets.open_time IS 'when trading begins';
COMMENT ON COLUMN rl_markets.close_time IS 'when trading ends';
COMMENT ON COLUMN rl_markets.result IS 'yes, no or the venue''s other word; null: not known';
COMMENT ON COLUMN rl_markets.settlement_value_e4 IS 'what a YES contract paid, 1e-4 dollar';
COMMENT ON COLUMN rl_markets.exchange_index IS 'shard of the venue that has its orders';
COMMENT ON COLUMN rl_markets.info IS 'all that the venue says of it';

COMMENT ON TABLE rl_session_markets IS 'A market of a session.';

COMMENT ON TABLE rl_watermarks IS 'How far a journal is loaded. Moves in the transaction that stores the rows: each is stored once.';
COMMENT ON COLUMN rl_watermarks.shard IS 'of the journal; there is one, 0';
COMMENT ON COLUMN rl_watermarks.journal_offset IS 'bytes of it that are in the tables';
COMMENT ON COLUMN rl_watermarks.updated_at IS 'when it last moved';

COMMENT ON TABLE rl_orderbook_deltas IS 'A change of one level. Named by session, connection, sid and seq; partitioned by UTC day of recv_ns.';
COMMENT ON COLUMN rl_orderbook_deltas.delta_e2 IS 'signed change of the level as sent, 1e-2 contract';
COMMENT ON COLUMN rl_orderbook_deltas.size_e2 IS 'of the level afterwards, 1e-2 contract; null: the book was not live';
COMMENT ON COLUMN rl_orderbook_deltas.price_e4 IS 'of the level, of its own side, 1e-4 dollar';
COMMENT ON COLUMN rl_orderbook_deltas.side IS '0 YES bids, 1 NO bids';

COMMENT ON TABLE rl_orderbook_snapshots IS 'A whole book: bids of both sides, ascending by price. Partitioned as deltas are.';
COMMENT ON COLUMN rl_orderbook_snapshots.reason IS 'why it came: docs/reasons.md';
COMMENT ON COLUMN rl_orderbook_snapshots.yes_prices IS 'of YES bids, 1e-4 dollar';
COMMENT ON COLUMN rl_orderbook_snapshots.yes_sizes IS 'at these prices, 1e-2 contract';
COMMENT ON COLUMN rl_orderbook_snapshots.no_prices IS 'of NO bids, 1e-4 dollar of NO';
COMMENT ON COLUMN rl_orderbook_snapshots.no_sizes IS 'at these prices, 1e-2 contract';

COMMENT ON TABLE rl_trades IS 'A public trade. Partitioned as deltas are.';
COMMENT ON COLUMN rl_trades.size_e2 IS '1e-2 contract';
COMMENT ON COLUMN rl_trades.price_e4 IS 'of YES, 1e-4 dollar';
COMMENT ON COLUMN rl_trades.taker IS 'side that the taker bought: 0 YES, 1 NO; null: not told';
COMMENT ON COLUMN rl_trades.is_block IS 'agreed beside the book; null: not told';
COMMENT ON COLUMN rl_trades.trade_id IS 'the venue''s';

COMMENT ON TABLE rl_tickers IS 'Top of book and totals, as the venue sends them. A price of 0 or 10000 is its "none". Partitioned as deltas are.';
COMMENT ON COLUMN rl_tickers.yes_bid_size_e2 IS '1e-2 contract';
COMMENT ON COLUMN rl_tickers.yes_ask_size_e2 IS '1e-2 contract';
COMMENT ON COLUMN rl_tickers.volume_e2 IS 'traded ever, 1e-2 contract';
COMMENT ON COLUMN rl_tickers.open_interest_e2 IS 'held, 1e-2 contract';
COMMENT ON COLUMN rl_tickers.last_e4 IS 'of the last trade, of YES, 1e-4 dollar';
COMMENT ON COLUMN rl_tickers.yes_bid_e4 IS '1e-4 dollar';
COMMENT ON COLUMN rl_tickers.yes_ask_e4 IS '1e-4 dollar';

COMMENT ON TABLE rl_frames IS 'Any other frame, as it came: answers, errors, lifecycle, what nobody could read. Partitioned as deltas are.';
COMMENT ON COLUMN rl_frames.kind IS 'the venue''s type, or why it could not be read';
COMMENT ON COLUMN rl_frames.market IS 'ticker, where it names one';
COMMENT ON COLUMN rl_frames.raw IS 'its bytes';

COMMENT ON TABLE rl_gaps IS 'Whatever was missing, extra or not to be trusted.';
COMMENT ON COLUMN rl_gaps.expected IS 'seq that should have come';
COMMENT ON COLUMN rl_gaps.received IS 'seq that came';
COMMENT ON COLUMN rl_gaps.ended_ns IS 'when the last book concerned was live again, ns since 1970; null: it is not';
COMMENT ON COLUMN rl_gaps.sid IS 'null: the whole connection';
COMMENT ON COLUMN rl_gaps.market_id IS 'rl_markets; null: every market of the subscription';
COMMENT ON COLUMN rl_gaps.kind IS 'docs/reasons.md';
COMMENT ON COLUMN rl_gaps.detail IS 'in words';

COMMENT ON TABLE rl_models IS 'The registry: a version of a model. Its weights are in files.';
COMMENT ON COLUMN rl_models.id IS 'names it in other tables';
COMMENT ON COLUMN rl_models.model_name IS 'of a family';
COMMENT ON COLUMN rl_models.version IS 'from 1, in its family';
COMMENT ON COLUMN rl_models.algorithm IS 'what trained it';
COMMENT ON COLUMN rl_models.hyperparameters IS 'as it was trained with';
COMMENT ON COLUMN rl_models.training_metrics IS 'as training went';
COMMENT ON COLUMN rl_models.status IS 'training, candidate, paper, live, retired or failed';
COMMENT ON COLUMN rl_models.path IS 'of its bundle, below the data folder; null: it has none';
COMMENT ON COLUMN rl_models.sha256 IS 'of its weights';
COMMENT ON COLUMN rl_models.feature_schema IS 'hash of the code that computes what it sees';
COMMENT ON COLUMN rl_models.run_folder IS 'of the run that trained it';
COMMENT ON COLUMN rl_models.card IS 'of the bundle, byte for byte';

COMMENT ON TABLE rl_model_changes IS 'A step of a model from one status to the next.';
COMMENT ON COLUMN rl_model_changes.id IS 'in the order of steps';
COMMENT ON COLUMN rl_model_changes.changed_ns IS 'ns since 1970';
COMMENT ON COLUMN rl_model_changes.status_before IS 'null: it was created';
COMMENT ON COLUMN rl_model_changes.status_after IS 'as in rl_models';
COMMENT ON COLUMN rl_model_changes.reason IS 'in words';

COMMENT ON TABLE rl_evaluations IS 'An evaluation, with its document.';
COMMENT ON COLUMN rl_evaluations.id IS 'names it in other tables';
COMMENT ON COLUMN rl_evaluations.name IS 'of its folder';
COMMENT ON COLUMN rl_evaluations.folder IS 'where its report and its document lie';
COMMENT ON COLUMN rl_evaluations.in_sample IS 'judged on what was trained on';
COMMENT ON COLUMN rl_evaluations.events IS 'independent settlements';
COMMENT ON COLUMN rl_evaluations.sentence IS 'the verdict';
COMMENT ON COLUMN rl_evaluations.document IS 'evaluation.json, whole';

COMMENT ON TABLE rl_evaluated_models IS 'A model that an evaluation judged.';

COMMENT ON TABLE rl_trading_episodes IS 'An episode of training, or of an evaluation. Ratios are reports, so floating point; money is not.';
COMMENT ON COLUMN rl_trading_episodes.id IS 'names it in other tables';
COMMENT ON COLUMN rl_trading_episodes.model_id IS 'rl_models; null: a policy written by hand';
COMMENT ON COLUMN rl_trading_episodes.episode_number IS 'of the training or the evaluation';
COMMENT ON COLUMN rl_trading_episodes.ended_ns IS 'ns since 1970';
COMMENT ON COLUMN rl_trading_episodes.steps IS 'decisions';
COMMENT ON COLUMN rl_trading_episodes.initial_cash_e6 IS '1e-6 dollar';
COMMENT ON COLUMN rl_trading_episodes.final_equity_e6 IS 'cash and what positions count, 1e-6 dollar';
COMMENT ON COLUMN rl_trading_episodes.fees_e6 IS 'paid, 1e-6 dollar';
COMMENT ON COLUMN rl_trading_episodes.total_return IS 'profit in parts of the cash it began with';
COMMENT ON COLUMN rl_trading_episodes.sharpe_ratio IS 'of its rewards; null: they do not vary, or an evaluation''s';
COMMENT ON COLUMN rl_trading_episodes.max_drawdown IS 'deepest fall of equity in parts of the cash it began with';
COMMENT ON COLUMN rl_trading_episodes.metrics IS 'more of it';
COMMENT ON COLUMN rl_trading_episodes.evaluation_id IS 'rl_evaluations; null: an episode of training';

COMMENT ON TABLE rl_trading_actions IS 'A decision: of an episode that is kept in full, or of an actor (all but to hold).';
COMMENT ON COLUMN rl_trading_actions.id IS 'in the order of storing';
COMMENT ON COLUMN rl_trading_actions.episode_id IS 'rl_trading_episodes; null: an actor''s';
COMMENT ON COLUMN rl_trading_actions.order_id IS 'rl_orders';
COMMENT ON COLUMN rl_trading_actions.action_timestamp_ms IS 'time of the market, ms since 1970';
COMMENT ON COLUMN rl_trading_actions.step_number IS 'of the episode, or of the run';
COMMENT ON COLUMN rl_trading_actions.action_type IS 'name in the action set: docs/policy.md';
COMMENT ON COLUMN rl_trading_actions.price_e4 IS 'of the side that was to be bought, 1e-4 dollar';
COMMENT ON COLUMN rl_trading_actions.quantity_e2 IS '1e-2 contract';
COMMENT ON COLUMN rl_trading_actions.position_before_e2 IS 'YES positive, 1e-2 contract';
COMMENT ON COLUMN rl_trading_actions.position_after_e2 IS 'YES positive, 1e-2 contract; null: an actor''s, who learns it later';
COMMENT ON COLUMN rl_trading_actions.reward IS 'of the step; null: an actor''s';
COMMENT ON COLUMN rl_trading_actions.refusal IS 'why no order left: docs/reasons.md; null: one did, or none was wanted';
COMMENT ON COLUMN rl_trading_actions.run IS 'run of kflow actor: rl_actor_runs; null: an episode''s';
COMMENT ON COLUMN rl_trading_actions.client_order_id IS 'of the order that it became';
COMMENT ON COLUMN rl_trading_actions.side IS 'that was to be bought: 0 YES, 1 NO';

COMMENT ON TABLE rl_orders IS 'An order of an actor, stored before it is sent. A status of stored or sent may be of one that never left.';
COMMENT ON COLUMN rl_orders.id IS 'names it in other tables';
COMMENT ON COLUMN rl_orders.client_order_id IS 'ours, made of what was decided: sending twice cannot make two orders';
COMMENT ON COLUMN rl_orders.venue_order_id IS 'the venue''s';
COMMENT ON COLUMN rl_orders.side IS 'that is bought: 0 YES, 1 NO';
COMMENT ON COLUMN rl_orders.direction IS '0 buy; an actor only buys, and selling YES is buying NO';
COMMENT ON COLUMN rl_orders.price_e4 IS 'limit, of its side, 1e-4 dollar';
COMMENT ON COLUMN rl_orders.size_e2 IS '1e-2 contract';
COMMENT ON COLUMN rl_orders.filled_e2 IS '1e-2 contract';
COMMENT ON COLUMN rl_orders.status IS 'docs/reasons.md';
COMMENT ON COLUMN rl_orders.reason IS 'why it was refused or ended, in words';
COMMENT ON COLUMN rl_orders.epoch IS 'of the lease it was decided under: only its holder''s orders are stored';
COMMENT ON COLUMN rl_orders.number IS 'of the run''s decisions in this market';
COMMENT ON COLUMN rl_orders.action IS 'name in the action set: docs/policy.md';
COMMENT ON COLUMN rl_orders.immediate IS 'what is not filled at once is over';
COMMENT ON COLUMN rl_orders.reduce_only IS 'it may only make a position smaller';
COMMENT ON COLUMN rl_orders.expires_us IS 'when the venue ends it by itself, as last renewed, µs since 1970';
COMMENT ON COLUMN rl_orders.until_us IS 'up to when it is renewed, µs since 1970';
COMMENT ON COLUMN rl_orders.limits IS 'SHA-256 of the limits that let it pass';
COMMENT ON COLUMN rl_orders.shard IS 'of the venue: its exchange_index';
COMMENT ON COLUMN rl_orders.order_group IS 'that the venue cancels as one';
COMMENT ON COLUMN rl_orders.sent_us IS 'the actor''s clock, µs since 1970';
COMMENT ON COLUMN rl_orders.answered_us IS 'the actor''s clock, µs since 1970';
COMMENT ON COLUMN rl_orders.reached_us IS 'when the venue took it, by its own clock, µs since 1970';
COMMENT ON COLUMN rl_orders.cancel_sent_us IS 'the actor''s clock, µs since 1970';
COMMENT ON COLUMN rl_orders.cancel_answered_us IS 'the actor''s clock, µs since 1970';
COMMENT ON COLUMN rl_orders.ended_us IS 'when the actor knew that it was over, other than by fills, µs since 1970';
COMMENT ON COLUMN rl_orders.cancelled_us IS 'when the venue cancelled it, by its own clock, µs since 1970; null: it did not, or did not say';

COMMENT ON TABLE rl_fills IS 'An execution of an order. The venue''s trade id makes booking one twice impossible.';
COMMENT ON COLUMN rl_fills.id IS 'in the order of storing';
COMMENT ON COLUMN rl_fills.order_id IS 'rl_orders';
COMMENT ON COLUMN rl_fills.trade_id IS 'the venue''s';
COMMENT ON COLUMN rl_fills.price_e4 IS 'of the side that was bought, 1e-4 dollar';
COMMENT ON COLUMN rl_fills.size_e2 IS '1e-2 contract';
COMMENT ON COLUMN rl_fills.fee_e6 IS '1e-6 dollar';
COMMENT ON COLUMN rl_fills.is_taker IS 'whether it took what rested';
COMMENT ON COLUMN rl_fills.venue_us IS 'when it happened, by the venue''s clock, µs since 1970';
COMMENT ON COLUMN rl_fills.recv_ns IS 'when it was heard of: this machine''s clock, ns since 1970';

COMMENT ON TABLE rl_actor_leases IS 'Which actor may trade at a venue. Its epoch only grows.';
COMMENT ON COLUMN rl_actor_leases.epoch IS 'of whoever holds it: orders of an earlier one are refused';
COMMENT ON COLUMN rl_actor_leases.holder IS 'host, process and data folder, for people';
COMMENT ON COLUMN rl_actor_leases.taken_at IS 'this server''s clock';
COMMENT ON COLUMN rl_actor_leases.expires_at IS 'this server''s clock, which alone decides';

COMMENT ON TABLE rl_actor_runs IS 'A run of kflow actor.';
COMMENT ON COLUMN rl_actor_runs.epoch IS 'of its lease';
COMMENT ON COLUMN rl_actor_runs.run IS 'its id';
COMMENT ON COLUMN rl_actor_runs.strategy IS 'who decided';
COMMENT ON COLUMN rl_actor_runs.model_sha256 IS 'of a model''s weights; null: no model decided';
COMMENT ON COLUMN rl_actor_runs.limits IS 'SHA-256 of the limits it began with';
COMMENT ON COLUMN rl_actor_runs.ended_ns IS 'ns since 1970; null: it runs, or it died';
COMMENT ON COLUMN rl_actor_runs.ended IS 'why, in words';

COMMENT ON TABLE rl_actor_holdings IS 'A look at what the venue says that an account has.';
COMMENT ON COLUMN rl_actor_holdings.id IS 'in the order of storing';
COMMENT ON COLUMN rl_actor_holdings.venue_us IS 'of the answer, by the venue''s clock, µs since 1970';
COMMENT ON COLUMN rl_actor_holdings.cash_e6 IS 'all of it, what resting orders hold back included, 1e-6 dollar';
COMMENT ON COLUMN rl_actor_holdings.positions IS '{ticker: 1e-2 contract, YES positive}';

COMMENT ON TABLE rl_storage_steps IS 'What became of a session''s rows and journal. Rows are added, never changed: the last one of a session says how it stands.';
COMMENT ON COLUMN rl_storage_steps.id IS 'in the order of steps';
COMMENT ON COLUMN rl_storage_steps.step IS 'archived, backed_up, pruning, pruned, restoring or restored';
COMMENT ON COLUMN rl_storage_steps.taken_at IS 'this server''s clock';
COMMENT ON COLUMN rl_storage_steps.taken_by IS 'user and machine, and the role of the database behind them';
COMMENT ON COLUMN rl_storage_steps.folder IS 'of the copy; null: there is none';
COMMENT ON COLUMN rl_storage_steps.manifest IS 'SHA-256 of the manifest in it';
COMMENT ON COLUMN rl_storage_steps.digest IS 'of the books, as kflow replay verify shows it';
COMMENT ON COLUMN rl_storage_steps.facts IS 'rows and bytes, counted; what the session''s summary was';

COMMENT ON TABLE schema_migrations IS 'A migration that was applied.';
COMMENT ON COLUMN schema_migrations.version IS 'from 1, without holes';
COMMENT ON COLUMN schema_migrations.name IS 'of its file';
COMMENT ON COLUMN schema_migrations.applied_at IS 'this server''s clock';
COMMENT ON COLUMN schema_migrations.checksum IS 'SHA-256 of its text';

COMMENT ON VIEW rl_orderbook_deltas_cents IS 'Changes of levels in cents and contracts.';
COMMENT ON VIEW rl_orderbook_snapshots_cents IS 'Books in cents and contracts, asks derived, levels as JSON [[cents, contracts], …], best first.';
COMMENT ON VIEW rl_trading_actions_cents IS 'Decisions in cents and contracts.';
