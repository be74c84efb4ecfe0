-- Queries of kflow/rl/records.py.

-- name: episode
-- One episode that ended. Returns: id.
INSERT INTO rl_trading_episodes (model_id, episode_number, session_id, market_ticker, started_ns, ended_ns, steps,
                                 initial_cash_e6, final_equity_e6, fees_e6, total_return, sharpe_ratio, max_drawdown,
                                 metrics)
VALUES (%(model_id)s, %(episode_number)s, %(session_id)s, %(market_ticker)s, %(started_ns)s, %(ended_ns)s, %(steps)s,
        %(initial_cash_e6)s, %(final_equity_e6)s, %(fees_e6)s, %(total_return)s, %(sharpe_ratio)s, %(max_drawdown)s,
        %(metrics)s)
RETURNING id;

-- name: action
-- One decision of an episode that is kept in full.
INSERT INTO rl_trading_actions (episode_id, session_id, action_timestamp_ms, step_number, action_type, price_e4,
                                quantity_e2, position_before_e2, position_after_e2, reward, refusal)
VALUES (%(episode_id)s, %(session_id)s, %(action_timestamp_ms)s, %(step_number)s, %(action_type)s, %(price_e4)s,
        %(quantity_e2)s, %(position_before_e2)s, %(position_after_e2)s, %(reward)s, %(refusal)s);

-- name: forget_actions
-- Those of episodes that are about to be played again.
DELETE FROM rl_trading_actions
 WHERE episode_id IN (SELECT id FROM rl_trading_episodes
                       WHERE model_id = %(model_id)s AND episode_number > %(episode_number)s
                         AND evaluation_id IS NULL);

-- name: forget_episodes
-- Episodes of a model behind a number: training goes on from before them.
DELETE FROM rl_trading_episodes
 WHERE model_id = %(model_id)s AND episode_number > %(episode_number)s AND evaluation_id IS NULL;
