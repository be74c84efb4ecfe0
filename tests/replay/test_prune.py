"""What may be removed, what may not, and what is left then."""

from __future__ import annotations

import shutil
from pathlib import Path

import psycopg
import pytest

from kflow.errors import ConfigError, InstanceLocked, UsageError
from kflow.replay import prune, restore
from kflow.replay.backup import backup
from kflow.replay.verify import verify
from kflow.store import ledger, registry, sessions
from kflow.store.postgres import Connection
from kflow.testing.postgres import Database

from .conftest import T0_NS, Script
from .keeping import LATER_NS, Store, archived, flip, kept_for, partitions, pruned, script, small, stream_of


def test_a_day_of_its_own_is_dropped_and_a_shared_one_is_deleted_from(
    conn: Connection, store: Store, tmp_path: Path
) -> None:
    alone = store(script(), name="alone")
    next_day = T0_NS + sessions.DAY_NS
    first, second = (store(script(start_ns=next_day), name=name) for name in ("first", "second"))
    for stored in (alone, first):
        archived(conn, stored.id, tmp_path / "archive")
    before, rows = verify(conn, second.id), stream_of(conn, second.id)
    assert len(partitions(conn)) == 10

    planned = prune.plan(conn, [alone.id, first.id], now_ns=LATER_NS)
    assert (planned.days, planned.freed_bytes > 100_000) == (1, True)
    done = prune.prune(conn, planned)
    assert (done.removed.days, done.removed.freed_bytes) == (1, planned.freed_bytes)
    assert done.removed.reusable_rows == planned.going[1].rows
    assert {name[-8:] for name in partitions(conn)} == {"20260102"}
    assert (stream_of(conn, second.id), verify(conn, second.id)) == (rows, before)
    assert not any(stream_of(conn, first.id).values())
    assert store(small(), name="next").id == 4


def test_today_is_not_dropped_under_whoever_records(conn: Connection, store: Store, tmp_path: Path) -> None:
    stored = store(small())
    archived(conn, stored.id, tmp_path / "archive")
    done = prune.prune(conn, prune.plan(conn, [stored.id], now_ns=T0_NS + 10**12))
    assert (done.removed.days, done.removed.reusable_rows > 0, len(partitions(conn))) == (0, True, 5)


def test_nothing_goes_without_a_whole_copy(conn: Connection, store: Store, tmp_path: Path) -> None:
    stored = store(script())
    assert kept_for(conn, stored.id) == ["it is neither archived nor backed up"]
    folder = archived(conn, stored.id, tmp_path / "archive")
    assert kept_for(conn, stored.id) == []
    shutil.copytree(folder, tmp_path / "good")
    flip(folder / "journal" / "session.json")
    [why] = kept_for(conn, stored.id)
    assert "session.json is not what was written" in why
    shutil.rmtree(folder)
    [why] = kept_for(conn, stored.id)
    assert "holds no manifest" in why
    (tmp_path / "good").rename(folder)
    conn.execute("DELETE FROM rl_trades WHERE session_id = 1")
    [why] = kept_for(conn, stored.id)
    assert "other counts" in why
    pruned(conn, stored.id, without_copy=True)
    assert ledger.standing(conn, stored.id).word == "archived"


def test_a_backup_is_a_copy_too(conn: Connection, store: Store, tmp_path: Path) -> None:
    stored = store(script())
    backup(conn, tmp_path / "data", tmp_path / "backups")
    pruned(conn, stored.id)
    assert ledger.standing(conn, stored.id).word == "backed up"


def test_a_journal_that_grew_since_is_not_removed(conn: Connection, store: Store, tmp_path: Path) -> None:
    stored = store(small())
    archived(conn, stored.id, tmp_path / "archive")
    [segment] = stored.directory.glob("*.kfj")
    with segment.open("ab") as file:
        file.write(b"more")
    [why] = kept_for(conn, stored.id)
    assert "not all of the journal" in why


def test_what_is_not_the_sessions_own_is_left(conn: Connection, store: Store, tmp_path: Path) -> None:
    stored = store(small())
    archived(conn, stored.id, tmp_path / "archive")
    (stored.directory / "notes.txt").write_text("mine")
    pruned(conn, stored.id)
    assert [path.name for path in stored.directory.iterdir()] == ["notes.txt"]


def test_an_open_session_and_what_is_needed_stay(conn: Connection, store: Store, tmp_path: Path) -> None:
    stored = store(small())
    archived(conn, stored.id, tmp_path / "archive")
    conn.execute("UPDATE rl_sessions SET state = 'open'")
    assert kept_for(conn, stored.id) == ["it has not ended"]
    conn.execute("UPDATE rl_sessions SET state = 'closed'")

    model = registry.create(conn, "mine", "ppo", now_ns=1)
    conn.execute("INSERT INTO rl_trading_episodes (model_id, episode_number, session_id) VALUES (%s, 1, 1)", [model.id])
    conn.execute(
        "INSERT INTO rl_evaluations (created_ns, name, folder, in_sample, events, sentence, document)"
        """ VALUES (1, 'e', 'f', false, 1, 's', '{"data": {"tapes": [{"session": 1}, {"session": null}]}}')"""
    )
    conn.execute("INSERT INTO rl_evaluated_models VALUES (1, %s)", [model.id])
    assert kept_for(conn, stored.id) == [
        "evaluation 1 judged model mine:1 (training) on it",
        "model mine:1 (training) was trained on it",
    ]
    conn.execute("UPDATE rl_models SET status = 'retired'")
    assert kept_for(conn, stored.id) == []

    conn.execute("INSERT INTO rl_actor_leases VALUES ('paper', 1, 'me', now(), now() + interval '1 hour')")
    conn.execute(
        "INSERT INTO rl_actor_runs VALUES"
        " (gen_random_uuid(), 'paper', 1, 'hold', NULL, 'x', '0.1.0', 'here', %s, NULL, NULL)",
        [T0_NS],
    )
    [why] = kept_for(conn, stored.id)
    assert "actor run" in why
    conn.execute("UPDATE rl_actor_leases SET expires_at = now()")
    planned = prune.plan(conn, [stored.id], now_ns=LATER_NS)
    assert planned.staying == ()
    conn.execute("UPDATE rl_models SET status = 'live'")
    with pytest.raises(UsageError, match="is needed since the plan was made"):
        prune.prune(conn, planned)
    assert any(stream_of(conn, stored.id).values())


def test_a_journal_that_grew_since_the_plan_is_not_removed(conn: Connection, store: Store, tmp_path: Path) -> None:
    stored = store(small())
    archived(conn, stored.id, tmp_path / "archive")
    waiting = prune.plan(conn, [stored.id], now_ns=LATER_NS)  # for an answer
    more = stored.directory / f"{10**9:020d}.kfj"
    more.write_bytes(b"recorded since")
    with pytest.raises(UsageError, match="changed since the plan was made"):
        prune.prune(conn, waiting)
    assert more.exists()
    assert not ledger.standing(conn, stored.id).removed


def test_a_removal_that_another_ended_is_not_ended_twice(conn: Connection, store: Store, tmp_path: Path) -> None:
    stored = store(small())
    folder = archived(conn, stored.id, tmp_path / "archive")
    [begun] = prune.plan(conn, [stored.id], now_ns=LATER_NS).going
    ledger.take(conn, ledger.Step(
        session_id=stored.id, step="pruning", folder=str(folder), manifest=begun.copy and begun.copy.manifest,
        facts={"summary": begun.summary, "journal": None},
    ))  # fmt: skip
    waiting = prune.plan(conn, [stored.id], now_ns=LATER_NS)  # for an answer
    pruned(conn, stored.id)
    restore.restore_session(conn, tmp_path / "data", folder, stored.id)
    rows = stream_of(conn, stored.id)
    with pytest.raises(UsageError, match="since the plan was made"):
        prune.prune(conn, waiting)
    assert stream_of(conn, stored.id) == rows


def test_a_model_keeps_the_sessions_on_its_card(conn: Connection, store: Store, tmp_path: Path) -> None:
    stored = store(small())
    archived(conn, stored.id, tmp_path / "archive")
    model = registry.create(conn, "mine", "ppo", now_ns=1)
    card = '{"trained_on": [{"market": "M", "session": 1}, {"market": "N"}]}'
    conn.execute("UPDATE rl_models SET status = 'live', card = %s WHERE id = %s", [card, model.id])
    assert kept_for(conn, stored.id) == ["model mine:1 (live) was trained on it"]


def test_only_the_owner_removes_and_only_one_at_a_time(
    database: Database, conn: Connection, store: Store, tmp_path: Path
) -> None:
    stored = store(small())
    archived(conn, stored.id, tmp_path / "archive")
    planned = prune.plan(conn, [stored.id], now_ns=LATER_NS)
    with psycopg.connect(database.login("kflow_writer"), autocommit=True) as writer:
        with pytest.raises(ConfigError, match="may not prune: the tables belong to kflow_owner"):
            prune.prune(writer, planned)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            ledger.take(writer, ledger.Step(session_id=1, step="pruning"))
        with ledger.alone(writer), pytest.raises(InstanceLocked):
            prune.prune(conn, planned)
    with psycopg.connect(database.login("kflow_owner"), autocommit=True) as owner:
        assert prune.prune(owner, planned).sessions == [stored.id]


def test_whoever_reads_is_not_waited_for(database: Database, conn: Connection, store: Store, tmp_path: Path) -> None:
    """Then rows are deleted; nobody is held up for long."""
    stored = store(small())
    archived(conn, stored.id, tmp_path / "archive")
    with database.connect() as reader:
        reader.execute("SELECT count(*) FROM rl_orderbook_deltas")
        done = pruned(conn, stored.id)
    assert (done.removed.days, done.removed.reusable_rows > 0) == (0, True)


def test_sessions_by_their_age(conn: Connection, store: Store) -> None:
    old, _ = store(Script([[]]), name="old"), store(Script([[]]), name="open")
    conn.execute("UPDATE rl_sessions SET state = 'open', ended_ns = NULL WHERE id = 2")
    end = T0_NS + 10**12
    assert prune.ended_before(conn, end) == []
    assert prune.ended_before(conn, end + 1) == [old.id]
