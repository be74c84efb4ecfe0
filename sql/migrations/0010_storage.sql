-- What became of the rows and the journal of a session: where they were copied to, that they were removed, that they
-- were brought back. Rows are added and never changed: the last one of a session says how it stands.
CREATE TABLE rl_storage_steps (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    session_id  integer     NOT NULL REFERENCES rl_sessions,
    step        text        NOT NULL
                CHECK (step IN ('archived', 'backed_up', 'pruning', 'pruned', 'restored')),
    taken_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    taken_by    text        NOT NULL, -- user and machine; the role of the database behind them
    folder      text, -- of the copy; null: there is none
    manifest    text, -- SHA-256 of the manifest in it
    digest      text, -- of the books, as kflow replay verify shows it
    facts       jsonb       NOT NULL DEFAULT '{}' -- counts of rows, bytes; what the session's summary was
);
CREATE INDEX rl_storage_steps_session ON rl_storage_steps (session_id, id);

-- Removing is the owner's: a writer that could say "pruning" could have a session removed.
DO $$
BEGIN
    IF (SELECT count(*) FROM pg_roles WHERE rolname IN ('kflow_owner', 'kflow_writer', 'kflow_reader')) < 3 THEN
        RETURN;
    END IF;
    GRANT SELECT ON rl_storage_steps TO kflow_writer, kflow_reader;
END
$$;

CALL kflow_hand_over();
