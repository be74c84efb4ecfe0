-- When a cancellation was at the venue: the middle between sending it and its answer is tens of milliseconds off, too
-- far to find the order's end in a recorded book.
ALTER TABLE rl_orders ADD COLUMN cancelled_us bigint; -- the venue's time; null: not cancelled, or it did not say

DO $$
BEGIN
    IF (SELECT count(*) FROM pg_roles WHERE rolname IN ('kflow_owner', 'kflow_writer', 'kflow_reader')) < 3 THEN
        RETURN;
    END IF;
    GRANT UPDATE (cancelled_us) ON rl_orders TO kflow_writer;
END
$$;
