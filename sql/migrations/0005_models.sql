-- What a model goes through: training -> candidate -> paper -> live -> retired; failed where training did not end well.
-- One model of a name is live at a time; every step is kept with its reason.
ALTER TABLE rl_models DROP CONSTRAINT rl_models_status_check;
UPDATE rl_models AS model
   SET status = CASE WHEN EXISTS (SELECT FROM rl_models AS newer
                                   WHERE newer.model_name = model.model_name AND newer.status = 'active'
                                     AND newer.version > model.version) THEN 'retired' ELSE 'live' END
 WHERE status = 'active';
ALTER TABLE rl_models
    ADD CONSTRAINT rl_models_status_check
        CHECK (status IN ('training', 'candidate', 'paper', 'live', 'retired', 'failed')),
    ADD COLUMN feature_schema text, -- hash of the code that computes what the model sees
    ADD COLUMN run_folder     text, -- of the training run
    ADD COLUMN card           json; -- of the bundle at `path`, byte for byte; null while there is none
CREATE UNIQUE INDEX rl_models_live ON rl_models (model_name) WHERE status = 'live';

-- One row per step of a model; status_before is null where it was created.
CREATE TABLE rl_model_changes (
    id              bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model_id        integer NOT NULL REFERENCES rl_models,
    changed_ns      bigint  NOT NULL,
    status_before   text,
    status_after    text    NOT NULL,
    reason          text    NOT NULL
);
CREATE INDEX rl_model_changes_model ON rl_model_changes (model_id, id);

DO $$
BEGIN
    IF (SELECT count(*) FROM pg_roles WHERE rolname IN ('kflow_owner', 'kflow_writer', 'kflow_reader')) < 3 THEN
        RETURN;
    END IF;
    GRANT SELECT ON rl_model_changes TO kflow_writer, kflow_reader;
    GRANT INSERT ON rl_model_changes TO kflow_writer;
    GRANT UPDATE (card) ON rl_models TO kflow_writer;
END
$$;

CALL kflow_hand_over();
