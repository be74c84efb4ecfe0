"""kflow db: on a server of one's own, and on the embedded one."""

from __future__ import annotations

from kflow.store.migrate import upgrade
from kflow.store.sqlfiles import migrations
from kflow.testing.postgres import Database
from tests.cli.conftest import Kflow


def test_an_untouched_database_is_refused_until_it_is_upgraded(kflow: Kflow, empty_database: Database) -> None:
    url = empty_database.dsn
    before = kflow("db", "status", "--json", DATABASE_URL=url)
    assert (before.code, before.json["version"], before.json["current"]) == (3, 0, False)
    assert "kflow db upgrade" in before.err
    assert kflow("sessions", "ls", DATABASE_URL=url).code == 3
    assert kflow("db", "upgrade", "--check", DATABASE_URL=url).code == 3
    done = kflow("db", "upgrade", DATABASE_URL=url)
    assert done.code == 0
    assert done.err.count("applied ") == len(migrations())
    assert "nothing to do" in kflow("db", "upgrade", DATABASE_URL=url).out
    after = kflow("db", "status", "--json", DATABASE_URL=url)
    assert (after.code, after.json["version"], after.json["pending"]) == (0, len(migrations()), [])


def test_a_schema_of_a_newer_kflow_is_refused(kflow: Kflow, database: Database) -> None:
    with database.connect(autocommit=True) as conn:
        upgrade(conn)
        conn.execute("INSERT INTO schema_migrations (version, name, checksum) VALUES (99, 'later', '\\x00')")
    done = kflow("sessions", "ls", DATABASE_URL=database.dsn)
    assert (done.code, done.out) == (3, "")
    assert "schema version 99" in done.err
    assert "newer kflow" in done.err


def test_stats_show_every_table_with_its_room(kflow: Kflow, database: Database) -> None:
    done = kflow("db", "stats", "--json", DATABASE_URL=database.dsn)
    tables = {item["table"]: item for item in done.json["tables"]}
    assert {"rl_orderbook_deltas", "rl_orderbook_snapshots", "rl_models", "rl_trading_episodes", "rl_trading_actions",
            "rl_sessions", "rl_gaps"} <= set(tables)  # fmt: skip
    assert tables["rl_sessions"]["index_bytes"] > 0
    assert "rl_orderbook_deltas" in kflow("db", "stats", DATABASE_URL=database.dsn).out


def test_a_wrong_database_url_is_one_sentence_without_its_password(kflow: Kflow) -> None:
    done = kflow("sessions", "ls", DATABASE_URL="postgresql://u:canary@127.0.0.1:1/d")
    assert (done.code, done.out) == (4, "")
    assert "no connection to postgresql://u:***@127.0.0.1:1/d" in done.err
    assert "canary" not in done.err


def test_a_malformed_database_url_is_one_sentence_without_its_password(kflow: Kflow) -> None:
    done = kflow("sessions", "ls", DATABASE_URL="postgresql://u:ca@nary@127.0.0.1:1/d")
    assert done.code == 4
    assert "nary" not in done.out + done.err


def test_the_embedded_database_needs_no_setting(kflow: Kflow) -> None:
    status = kflow("db", "upgrade")
    assert status.code == 0, status.err
    done = kflow("sessions", "ls", "--json")
    assert (done.code, done.json["sessions"]) == (0, [])
    assert "no session is recorded here yet" in kflow("sessions", "ls").err
