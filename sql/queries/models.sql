-- Queries of kflow/store/registry.py.

-- name: lock_name
-- Only one process at a time may number a model of this name or change one; ends with the transaction.
SELECT pg_advisory_xact_lock(hashtext('kflow rl_models ' || %(name)s));

-- name: create
-- A new model in training, under the next version of its name. Returns: id, version.
WITH made AS (
    INSERT INTO rl_models (model_name, version, algorithm, market_ticker, hyperparameters, feature_schema, run_folder,
                           created_ns, updated_ns)
    SELECT %(name)s, coalesce(max(version), 0) + 1, %(algorithm)s, %(market_ticker)s, %(hyperparameters)s,
           %(feature_schema)s, %(run_folder)s, %(now_ns)s, %(now_ns)s
      FROM rl_models
     WHERE model_name = %(name)s
    RETURNING id, version
), logged AS (
    INSERT INTO rl_model_changes (model_id, changed_ns, status_after, reason)
    SELECT id, %(now_ns)s, 'training', 'created' FROM made
)
SELECT id, version FROM made;

-- name: read
-- Models by id, by name, by name and version or by status, each where it is not null; by name, the newest first.
-- Returns: id, name, version, algorithm, status, market_ticker, hyperparameters, training_metrics, feature_schema,
-- run_folder, path, sha256, card, created_ns, updated_ns.
SELECT id, model_name AS name, version, algorithm, status, market_ticker, hyperparameters, training_metrics,
       feature_schema, run_folder, path, encode(sha256, 'hex') AS sha256, card::text AS card, created_ns, updated_ns
  FROM rl_models
 WHERE (%(id)s::integer IS NULL OR id = %(id)s)
   AND (%(name)s::text IS NULL OR model_name = %(name)s)
   AND (%(version)s::integer IS NULL OR version = %(version)s)
   AND (%(status)s::text IS NULL OR status = %(status)s)
 ORDER BY model_name, version DESC;

-- name: change
-- A model's next status, and why.
WITH before AS (
    SELECT status FROM rl_models WHERE id = %(id)s
), logged AS (
    INSERT INTO rl_model_changes (model_id, changed_ns, status_before, status_after, reason)
    SELECT %(id)s, %(now_ns)s, before.status, %(status)s, %(reason)s FROM before
)
UPDATE rl_models SET status = %(status)s, updated_ns = %(now_ns)s WHERE id = %(id)s;

-- name: changes
-- The steps of a model, first to last. Returns: changed_ns, before, after, reason.
SELECT changed_ns, status_before AS before, status_after AS after, reason
  FROM rl_model_changes
 WHERE model_id = %(id)s
 ORDER BY id;

-- name: keep
-- Where the bundle of a trained model lies, and what it is.
UPDATE rl_models
   SET path = %(path)s, sha256 = decode(%(sha256)s, 'hex'), card = %(card)s, training_metrics = %(metrics)s
 WHERE id = %(id)s;

-- name: forget
-- The files of a model are gone; its hash and card stay.
UPDATE rl_models SET path = NULL WHERE id = %(id)s;
