-- Day partitions of the stream tables: retention drops a day, queries by time read only their days.

-- Creates the partitions of the UTC day that holds `ns`; true where it had to. Call it before the first row of a day,
-- in a transaction of its own. Safe when several sessions race: the loser waits, then finds them made. Attaching (unlike
-- CREATE TABLE ... PARTITION OF) does not block those who are inserting meanwhile. SECURITY DEFINER so that a writer
-- that may not create tables can call it.
CREATE FUNCTION kflow_ensure_day(ns bigint) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    day_ns  CONSTANT bigint := 86400000000000;
    starts  CONSTANT bigint := ns / day_ns * day_ns;
    stamp   CONSTANT text := to_char(to_timestamp(starts / 1000000000) AT TIME ZONE 'UTC', 'YYYYMMDD');
    parents CONSTANT text[] := ARRAY[
        'rl_orderbook_deltas', 'rl_orderbook_snapshots', 'rl_trades', 'rl_tickers', 'rl_frames'];
    parent  text;
    day     text;
    made    boolean := false;
BEGIN
    -- From 1970 to 2261: what nanoseconds in a bigint can name, less the last, broken day.
    IF ns < 0 OR ns >= 9223286400000000000 THEN
        RAISE EXCEPTION 'kflow_ensure_day: % ns is no time from 1970 to 2261', ns USING ERRCODE = '22008';
    END IF;
    -- rl_frames comes last below, so where its day exists all do.
    IF to_regclass('public.rl_frames_' || stamp) IS NOT NULL THEN
        RETURN false;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('kflow_ensure_day'));
    FOREACH parent IN ARRAY parents LOOP
        day := parent || '_' || stamp;
        CONTINUE WHEN to_regclass('public.' || day) IS NOT NULL;
        EXECUTE format('CREATE TABLE public.%I (LIKE public.%I INCLUDING ALL)', day, parent);
        EXECUTE format('ALTER TABLE public.%I ATTACH PARTITION public.%I FOR VALUES FROM (%s) TO (%s)',
                       parent, day, starts, starts + day_ns);
        made := true;
    END LOOP;
    RETURN made;
END
$$;
