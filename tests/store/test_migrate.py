"""The migrator: order, races, strange histories."""

import threading
from collections.abc import Callable

import psycopg
import pytest

from kflow.errors import ConfigError, DatabaseError, SchemaMismatch
from kflow.store.migrate import require_current, status, upgrade
from kflow.store.sqlfiles import migrations
from kflow.testing.postgres import Database, TestServer


def test_an_empty_database_is_brought_up_once(empty_database: Database) -> None:
    with empty_database.connect(autocommit=True) as conn:
        assert (status(conn).version, status(conn).current) == (0, False)
        assert upgrade(conn) == migrations()
        assert upgrade(conn) == ()
        require_current(conn)
        assert [applied.name for applied in status(conn).applied] == [migration.name for migration in migrations()]


def test_two_upgraders_race_and_both_succeed(empty_database: Database) -> None:
    done: list[int] = []

    def run(barrier: threading.Barrier) -> None:
        with empty_database.connect(autocommit=True) as conn:
            barrier.wait()
            done.append(len(upgrade(conn)))

    barrier = threading.Barrier(4)
    threads = [threading.Thread(target=run, args=[barrier]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [0, 0, 0, len(migrations())]


def test_databases_of_one_server_are_upgraded_at_the_same_time(new_database: Callable[[str], Database]) -> None:
    """Roles belong to the whole server: making them must not collide."""
    databases = [new_database("template0") for _ in range(3)]
    barrier, failures = threading.Barrier(3), list[psycopg.Error | DatabaseError]()

    def run(database: Database) -> None:
        try:
            with database.connect(autocommit=True) as conn:
                barrier.wait()
                upgrade(conn)
        except (psycopg.Error, DatabaseError) as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=[database]) for database in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_an_older_schema_is_refused_and_says_how_to_upgrade(empty_database: Database) -> None:
    with empty_database.connect(autocommit=True) as conn, pytest.raises(SchemaMismatch) as caught:
        require_current(conn)
    assert (caught.value.found, caught.value.exit_code) == (0, 3)
    assert "kflow db upgrade" in caught.value.hint


@pytest.mark.parametrize("act", [require_current, upgrade])
def test_a_newer_schema_is_refused(database: Database, act: Callable[[psycopg.Connection], object]) -> None:
    with database.connect(autocommit=True) as conn:
        conn.execute("INSERT INTO schema_migrations VALUES (9999, 'future', now(), '\\x00')")
        with pytest.raises(SchemaMismatch) as caught:
            act(conn)
    assert caught.value.found == 9999
    assert "newer kflow" in caught.value.hint


@pytest.mark.parametrize("act", [require_current, upgrade, status])
def test_a_history_that_is_not_ours_is_refused(database: Database, act: Callable[[psycopg.Connection], object]) -> None:
    with database.connect(autocommit=True) as conn:
        conn.execute("UPDATE schema_migrations SET checksum = '\\x00' WHERE version = 1")
        with pytest.raises(ConfigError, match="another migration 1"):
            act(conn)


def test_a_failing_migration_leaves_the_database_as_it_was(empty_database: Database) -> None:
    with empty_database.connect(autocommit=True) as conn:
        conn.execute("CREATE TABLE rl_fills (mine int)")
        with pytest.raises(DatabaseError, match="migration 1"):
            upgrade(conn)
        assert status(conn).version == 0
        assert conn.execute("SELECT count(*) FROM pg_tables WHERE tablename LIKE 'rl_%'").fetchone() == (1,)


def test_an_owner_without_the_right_to_make_roles_can_upgrade(postgres_server: TestServer) -> None:
    """As with a hosted database: the user owns it and nothing else."""
    with psycopg.connect(postgres_server.dsn("postgres"), autocommit=True) as conn:
        conn.execute("CREATE ROLE hosted LOGIN")
        conn.execute("CREATE DATABASE hosted OWNER hosted")
    try:
        dsn = psycopg.conninfo.make_conninfo(postgres_server.dsn("hosted"), user="hosted")
        with psycopg.connect(dsn, autocommit=True) as conn:
            assert upgrade(conn) == migrations()
            assert conn.execute("SELECT kflow_ensure_day(0)").fetchone() == (True,)
            row = conn.execute("SELECT tableowner FROM pg_tables WHERE tablename = 'rl_trades_19700101'").fetchone()
            assert row == ("hosted",)
    finally:
        postgres_server.drop("hosted")
        with psycopg.connect(postgres_server.dsn("postgres"), autocommit=True) as conn:
            conn.execute("DROP ROLE hosted")
