-- Queries of kflow/evaluate/records.py and of kflow/store/registry.py.

-- name: create
-- An evaluation that ended. Returns: id.
INSERT INTO rl_evaluations (created_ns, name, folder, in_sample, events, sentence, document)
VALUES (%(created_ns)s, %(name)s, %(folder)s, %(in_sample)s, %(events)s, %(sentence)s, %(document)s)
RETURNING id;

-- name: judged
-- A model that it judged.
INSERT INTO rl_evaluated_models (evaluation_id, model_id) VALUES (%(evaluation_id)s, %(model_id)s);

-- name: episode
-- One episode that it played; model_id is null for hand-written policies.
INSERT INTO rl_trading_episodes (evaluation_id, model_id, episode_number, session_id, market_ticker, started_ns,
                                 ended_ns, steps, initial_cash_e6, final_equity_e6, fees_e6, total_return, max_drawdown,
                                 metrics)
VALUES (%(evaluation_id)s, %(model_id)s, %(episode_number)s, %(session_id)s, %(market_ticker)s, %(started_ns)s,
        %(ended_ns)s, %(steps)s, %(initial_cash_e6)s, %(final_equity_e6)s, %(fees_e6)s, %(total_return)s,
        %(max_drawdown)s, %(metrics)s);

-- name: of_model
-- Evaluations of a model, newest first. Returns: id, created_ns, name, folder, in_sample, events, sentence.
SELECT evaluation.id, evaluation.created_ns, evaluation.name, evaluation.folder, evaluation.in_sample,
       evaluation.events, evaluation.sentence
  FROM rl_evaluations AS evaluation
  JOIN rl_evaluated_models AS judged ON judged.evaluation_id = evaluation.id
 WHERE judged.model_id = %(model_id)s
 ORDER BY evaluation.id DESC;

-- name: recorded
-- The sessions that this database knows. Returns: id.
SELECT id FROM rl_sessions;
