-- One actor of each venue at a time. Who holds the lease has an epoch, which only grows; every order carries the epoch
-- of the actor that decided it, and orders of an earlier one are refused here, whatever that actor believes.
CREATE TABLE rl_actor_leases (
    venue       text        PRIMARY KEY, -- paper, local, demo, production
    epoch       bigint      NOT NULL CHECK (epoch > 0),
    holder      text        NOT NULL, -- host, process and data folder, for people
    taken_at    timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL -- by this server's clock, which alone decides
);

CREATE FUNCTION kflow_lease_grows() RETURNS trigger
    LANGUAGE plpgsql
AS $$
BEGIN
    IF TG_OP = 'DELETE' OR NEW.venue <> OLD.venue OR NEW.epoch < OLD.epoch THEN
        RAISE EXCEPTION 'the epoch of a lease only grows' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER rl_actor_leases_grow BEFORE UPDATE OR DELETE ON rl_actor_leases
    FOR EACH ROW EXECUTE FUNCTION kflow_lease_grows();

-- Null: an order of before, or of nobody's lease.
ALTER TABLE rl_orders ADD COLUMN epoch bigint;

-- The row of the lease is held until the order is stored: an actor that takes over waits for it, and then finds it.
CREATE FUNCTION kflow_fence_order() RETURNS trigger
    LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM FROM rl_actor_leases
      WHERE venue = NEW.venue AND epoch = NEW.epoch AND expires_at > clock_timestamp()
        FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'epoch % does not hold the lease of %', NEW.epoch, NEW.venue USING ERRCODE = 'KF008';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER rl_orders_fence BEFORE INSERT ON rl_orders
    FOR EACH ROW WHEN (NEW.epoch IS NOT NULL) EXECUTE FUNCTION kflow_fence_order();

DO $$
BEGIN
    IF (SELECT count(*) FROM pg_roles WHERE rolname IN ('kflow_owner', 'kflow_writer', 'kflow_reader')) < 3 THEN
        RETURN;
    END IF;
    GRANT SELECT ON rl_actor_leases TO kflow_writer, kflow_reader;
    GRANT INSERT ON rl_actor_leases TO kflow_writer;
    GRANT UPDATE (epoch, holder, taken_at, expires_at) ON rl_actor_leases TO kflow_writer;
END
$$;

CALL kflow_hand_over();
