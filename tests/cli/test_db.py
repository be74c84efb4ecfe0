"""kflow db: on a server of one's own, and on the embedded one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from kflow.record.session import write_card
from kflow.store import sessions
from kflow.store.journal import JournalWriter
from kflow.store.migrate import upgrade
from kflow.store.sessions import NewSession
from kflow.store.sqlfiles import migrations
from kflow.testing.postgres import Database
from kflow.testing.process import Shell
from kflow.testing.venue import LocalVenueProcess
from tests.cli.conftest import Kflow, keyed, refused

CARD = NewSession(
    uuid=UUID("5f0c7a52-7c0f-4f0c-9c3a-6a6f0a3a9d12"),
    started_ns=1_735_689_600_000_000_000,
    environment="local",
    use_yes_price=False,
    sample_rate=1,
    kflow_version="0.1.0",
    host="here",
    journal_dir="",
    selection={},
)


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


@pytest.fixture
def recorded(database: Database, tmp_path: Path) -> Database:
    """A database with a session that ended long ago, without a frame."""
    card = replace(CARD, journal_dir=str(tmp_path / "data" / "journal" / "1"))
    journal = JournalWriter(Path(card.journal_dir), card.uuid)
    journal.close()
    write_card(Path(card.journal_dir), card)
    with database.connect(autocommit=True) as conn:
        number = sessions.create_session(conn, card)
        sessions.close_session(conn, number, card.started_ns + 10**9)
    return database


def test_a_session_goes_into_an_archive_and_comes_back(kflow: Kflow, recorded: Database, tmp_path: Path) -> None:
    url = recorded.dsn
    digest = kflow("replay", "verify", "--session", 1, "--json", DATABASE_URL=url).json["digest_tables"]
    done = kflow("db", "archive", "--keep", "30d", "--out", "archive", "--json", DATABASE_URL=url)
    assert [(one["session"], one["state"], one["digest"]) for one in done.json["archived"]] == [(1, "written", digest)]

    shown = kflow("db", "prune", "--keep", "30d", "--dry-run", "--json", DATABASE_URL=url)
    [planned] = shown.json["plan"]
    assert (planned["session"], planned["keep"], planned["copy"]) == (1, [], str(tmp_path / "archive" / "0001"))
    asked = kflow("db", "prune", "--keep", "30d", DATABASE_URL=url)
    assert asked.code == 2
    assert "--yes" in asked.err
    stats = kflow("db", "stats", "--json", DATABASE_URL=url).json
    assert (stats["prune_sessions"], stats["sessions"][0]["copy"]) == ([1], "archived")
    assert stats["prune_journal_bytes"] == stats["sessions"][0]["journal_bytes"] > 0
    gone = kflow("db", "prune", "--before", "2026-01-01", "--yes", "--json", DATABASE_URL=url)
    assert (gone.code, gone.json["pruned"]) == (0, [1])
    assert not (tmp_path / "data" / "journal" / "1").exists()

    [listed] = kflow("sessions", "ls", "--json", DATABASE_URL=url).json["sessions"]
    assert (listed["state"], listed["copy"]) == ("archived", str(tmp_path / "archive" / "0001"))
    assert "archived" in kflow("sessions", "ls", DATABASE_URL=url).out
    assert kflow("sessions", "show", 1, "--json", DATABASE_URL=url).json["state"] == "archived"
    for words in ((), ("--archive", "archive")):
        read = kflow("replay", "verify", "--session", 1, *words, "--json", DATABASE_URL=url)
        assert (read.code, read.json["digest_tables"]) == (0, digest), read.err

    back = kflow("db", "restore", "archive", "--session", 1, "--json", DATABASE_URL=url)
    assert (back.code, back.json["digest"]) == (0, digest)
    assert kflow("sessions", "ls", "--json", DATABASE_URL=url).json["sessions"][0]["state"] == "closed"


def test_a_backup_is_restored_into_another_data_folder(kflow: Kflow, recorded: Database, tmp_path: Path) -> None:
    """Into the embedded server of it; what is damaged is named, and leaves nothing behind."""
    done = kflow("db", "backup", "--out", "backups", "--json", DATABASE_URL=recorded.dsn)
    assert (done.code, done.json["sessions_written"]) == (0, [1])
    assert kflow("db", "restore", "backups", "--check", "--json").json["whole"]
    refused(kflow("db", "restore", "backups", DATABASE_URL=recorded.dsn), 3, "is not empty")
    back = kflow("db", "restore", "backups", "--data", "new", "--json")
    assert (back.code, back.json["sessions"]) == (0, [1]), back.err
    verdict = kflow("replay", "verify", "--session", 1, "--json", KFLOW_DATA_DIR=str(tmp_path / "new"))
    assert (verdict.code, verdict.json["equal"]) == (0, True)

    [damaged] = Path(done.json["folder"]).glob("sessions/0001/deltas.copy.gz")
    damaged.write_bytes(b"other")
    for words in (("--data", "newer"), ("--check",)):
        refused(kflow("db", "restore", "backups", *words), 6, "deltas.copy.gz")
    assert not (tmp_path / "newer" / "journal").exists()


def test_what_says_too_little_or_too_much_is_refused(kflow: Kflow, recorded: Database, tmp_path: Path) -> None:
    url = recorded.dsn
    refused(kflow("db", "prune", DATABASE_URL=url), 2, "nothing says which sessions")
    refused(kflow("db", "prune", "--keep", "soon", DATABASE_URL=url), 2, "is not a number of days")
    refused(kflow("db", "archive", "--keep", "3d", "--sessions", "1", "--out", "a", DATABASE_URL=url), 2, "one of them")
    refused(kflow("db", "restore", "nowhere", DATABASE_URL=url), 3, "no whole backup")
    refused(kflow("db", "restore", "nowhere", "--session", 1, DATABASE_URL=url), 2, "there is no session 1")
    refused(kflow("replay", "verify", "--session", 1, "--archive", "x", "--truth", "y"), 2, "no truth log")
    kept = kflow("db", "prune", "--sessions", 1, "--yes", "--json", DATABASE_URL=url)
    assert kept.json["kept"] == {"1": ["it is neither archived nor backed up"]}
    bold = kflow("db", "prune", "--without-archive", "--yes", "--json", DATABASE_URL=url, KFLOW__STORAGE__KEEP_DAYS="9")
    assert bold.json["pruned"] == [1]
    assert kflow("sessions", "ls", "--json", DATABASE_URL=url).json["sessions"][0]["state"] == "removed"
    refused(kflow("replay", "verify", "--session", 1, DATABASE_URL=url), 6, "were removed")


@pytest.mark.slow
def test_what_was_recorded_goes_on_in_another_cluster(shell: Shell, venue: LocalVenueProcess) -> None:
    """Recorded from the local exchange into the embedded server, backed up, and restored into another one's folder."""
    there = Shell(shell.folder, {**keyed(venue), "KFLOW__WEB__PORT": "0"})
    assert there.run("db", "upgrade").code == 0
    for _ in range(2):
        done = there.run("ingest", "--all", "--duration", "2", "--json")
        assert (done.code, done.json["stored"]) == (0, True), done.err
    assert there.run("db", "backup", "--out", "backups").code == 0
    here = Shell(shell.folder, {**there.environ, "KFLOW_DATA_DIR": str(shell.folder / "new")})
    assert here.run("db", "status").code == 3, "a cluster of its own, which no kflow has touched"
    assert here.run("db", "restore", "backups").code == 0
    for number in (1, 2):
        verdicts = [place.run("replay", "verify", "--session", number, "--json").json for place in (there, here)]
        assert verdicts[0] == verdicts[1]
        assert verdicts[0]["equal"]
        assert verdicts[0]["messages"] > 100
    assert here.run("ingest", "--all", "--duration", "1", "--json").json["stored"]
    assert [one["session"] for one in here.run("sessions", "ls", "--json").json["sessions"]] == [1, 2, 3]
