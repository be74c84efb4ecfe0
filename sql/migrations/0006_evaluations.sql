-- Evaluations: each with its document, the models that it judged, and every episode that it played.
CREATE TABLE rl_evaluations (
    id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_ns  bigint  NOT NULL,
    name        text    NOT NULL,
    folder      text    NOT NULL, -- where its report and its document lie
    in_sample   boolean NOT NULL, -- judged on what was trained on
    events      integer NOT NULL CHECK (events > 0), -- independent settlements
    sentence    text    NOT NULL,
    document    jsonb   NOT NULL
);

CREATE TABLE rl_evaluated_models (
    evaluation_id   integer NOT NULL REFERENCES rl_evaluations,
    model_id        integer NOT NULL REFERENCES rl_models,
    PRIMARY KEY (evaluation_id, model_id)
);
CREATE INDEX rl_evaluated_models_model ON rl_evaluated_models (model_id);

-- Null: an episode of training.
ALTER TABLE rl_trading_episodes ADD COLUMN evaluation_id integer REFERENCES rl_evaluations;
CREATE INDEX rl_trading_episodes_evaluation ON rl_trading_episodes (evaluation_id) WHERE evaluation_id IS NOT NULL;

DO $$
BEGIN
    IF (SELECT count(*) FROM pg_roles WHERE rolname IN ('kflow_owner', 'kflow_writer', 'kflow_reader')) < 3 THEN
        RETURN;
    END IF;
    GRANT SELECT ON rl_evaluations, rl_evaluated_models TO kflow_writer, kflow_reader;
    GRANT INSERT ON rl_evaluations, rl_evaluated_models TO kflow_writer;
END
$$;

CALL kflow_hand_over();
