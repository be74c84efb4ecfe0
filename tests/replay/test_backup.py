"""A backup is the whole database, its journals and its models; it comes back into an empty place, or not at all."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import psycopg
import pytest

from kflow.errors import ConfigError, DataError, InstanceLocked
from kflow.replay import restore
from kflow.replay.backup import Report, backup, check, newest, open_backup
from kflow.replay.verify import verify
from kflow.store import ledger, migrate, sessions, whole
from kflow.store.postgres import Connection
from kflow.testing.postgres import Database

from .keeping import Store, archived, flip, pruned, rows_of, script, small, stream_of

NewDatabase = Callable[[str], Database]
# Of an actor, whose epoch is written where NULL is.
ORDER: Final = (
    "INSERT INTO rl_orders (client_order_id, venue, market_id, side, direction, size_e2, status, created_ns,"
    " updated_ns, epoch) SELECT gen_random_uuid(), 'paper', id, 0, 0, 100, 'filled', 1, 1, NULL FROM rl_markets"
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with a model in it, and what is none of the registry's."""
    folder = tmp_path / "data"
    bundle = folder / "models" / "mine" / "1"
    bundle.mkdir(parents=True)
    (bundle / "mine.npz").write_bytes(b"weights")
    (bundle / "elsewhere").symlink_to("/etc/passwd")
    return folder


@pytest.fixture
def elsewhere(new_database: NewDatabase) -> Iterator[Connection]:
    """A connection to a database that no kflow has touched."""
    with new_database("template0").connect(autocommit=True) as connection:
        yield connection


def later(conn: Connection, data: Path, out: Path) -> Report:
    """A backup, as if the one before it were of another second."""
    before = newest(out)
    assert before is not None
    before.rename(out / f"20200101T{len(list(out.iterdir())):06d}Z")
    return backup(conn, data, out)


def test_what_is_restored_is_the_same_to_the_last_row(
    conn: Connection, store: Store, data: Path, tmp_path: Path, elsewhere: Connection
) -> None:
    numbers = [store(script(), segment_bytes=20_000).id, store(small(), name="second", sample_rate=3).id]
    conn.execute("INSERT INTO rl_actor_leases VALUES ('paper', 3, 'gone', now(), now())")
    conn.execute(ORDER)
    conn.execute("UPDATE rl_orders SET epoch = 3")  # of an actor whose lease is over
    verdicts = {number: verify(conn, number) for number in numbers}
    report = backup(conn, data, tmp_path / "backups")
    assert report.written == numbers

    done = restore.restore(elsewhere, tmp_path / "new", tmp_path / "backups")
    assert done.folder == report.folder
    for table in set(whole.TABLES) - {"rl_sessions"}:
        steps = table == "rl_storage_steps"  # told only when the backup was whole
        assert rows_of(elsewhere, table) == ([] if steps else rows_of(conn, table)), table
    for number in numbers:
        assert stream_of(elsewhere, number) == stream_of(conn, number)
        assert verify(elsewhere, number) == verdicts[number]
    assert migrate.status(elsewhere).current
    [moved, _] = sessions.read_sessions(elsewhere)
    assert moved.journal_dir == str(tmp_path / "new" / "journal" / str(moved.uuid))
    model = tmp_path / "new" / "models" / "mine" / "1"
    assert [path.name for path in model.iterdir()] == ["mine.npz"]
    with pytest.raises(psycopg.DatabaseError, match="does not hold the lease"):
        elsewhere.execute(ORDER.replace("NULL", "3"))
    new = sessions.upsert_market(elsewhere, sessions.Market(ticker="NEW", updated_ns=1))
    assert new == 3, "numbers go on behind those that were restored"


def test_every_table_is_backed_up(conn: Connection) -> None:
    found = conn.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
        " AND NOT relispartition"
    )
    stream = {table.table for table in restore.STREAM.values()}
    assert {row[0] for row in found} == {"schema_migrations", *whole.TABLES, *stream}
    for table in restore.STREAM.values():
        columns = conn.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
            [table.table],
        )
        assert {row[0] for row in columns} == set(table.columns)


def test_every_identity_goes_on_counting(conn: Connection) -> None:
    found = conn.execute("SELECT attrelid::regclass::text FROM pg_attribute WHERE attidentity <> ''").fetchall()
    text = whole.queries("storage")["go_on_counting"]
    assert [table for (table,) in found if f"'{table}'" not in text] == []


def test_what_did_not_change_is_the_same_file(conn: Connection, store: Store, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "backups"
    first = store(script(), segment_bytes=20_000)
    conn.execute("UPDATE rl_sessions SET state = 'open'")
    backup(conn, data, out)
    report = later(conn, data, out)
    assert (report.written, report.unchanged) == ([1], [])
    _, new = sorted(path for path in out.iterdir() if path.name[0] == "2")
    linked = {path.name for path in new.rglob("*") if path.is_file() and path.stat().st_nlink == 2}
    segments = sorted(path.name for path in (new / "sessions/0001/journal").glob("*.gz"))
    assert linked == set(segments[:-1]), "segments that another follows, and nothing else"
    assert {path.stat().st_mode & 0o077 for path in new.rglob("*")} == {0}

    sessions.close_session(conn, first.id, 2 * 10**18)
    later(conn, data, out)
    report = later(conn, data, out)
    assert (report.written, report.unchanged) == ([], [1])
    pruned(conn, first.id)
    report = later(conn, data, out)
    assert report.unchanged == [1], "what was removed is carried along"
    assert str(ledger.standing(conn, first.id).folder) == f"{report.folder}/sessions/0001"
    restore.restore_session(conn, data, out, first.id)
    assert verify(conn, first.id).equal


def test_a_copy_of_before_a_session_ended_does_not_pass_for_all_of_it(
    conn: Connection, store: Store, data: Path, tmp_path: Path
) -> None:
    out, stored = tmp_path / "backups", store(script())
    conn.execute("UPDATE rl_sessions SET state = 'open'")
    conn.execute("CREATE TABLE later AS SELECT * FROM rl_trades")
    conn.execute("DELETE FROM rl_trades")
    backup(conn, data, out)
    conn.execute("INSERT INTO rl_trades SELECT * FROM later")
    sessions.close_session(conn, stored.id, 2 * 10**18)
    folder = archived(conn, stored.id, tmp_path / "archive")
    pruned(conn, stored.id)
    later(conn, data, out)
    with pytest.raises(DataError, match="was copied before it was complete") as caught:
        restore.restore_session(conn, data, out, stored.id)
    assert str(folder) in (caught.value.hint or "")
    assert ledger.standing(conn, stored.id).removed
    restore.restore_session(conn, data, folder, stored.id)
    assert verify(conn, stored.id).equal


@pytest.mark.parametrize("damage", ["missing", "shorter"])
def test_what_is_no_longer_whole_in_the_last_backup_is_written_anew(
    conn: Connection, store: Store, data: Path, tmp_path: Path, damage: str
) -> None:
    out, stored = tmp_path / "backups", store(small())
    lost = backup(conn, data, out).folder / "sessions/0001/deltas.copy.gz"
    if damage == "missing":
        lost.unlink()
    else:
        os.truncate(lost, 10)
    report = later(conn, data, out)
    assert report.written == [stored.id]
    assert [found.session for _, found in check(report.folder, report.manifest)] == [stored.id]


def test_what_is_no_longer_whole_and_was_removed_is_named(
    conn: Connection, store: Store, data: Path, tmp_path: Path
) -> None:
    out, stored = tmp_path / "backups", store(small())
    report = backup(conn, data, out)
    pruned(conn, stored.id)
    (report.folder / "sessions/0001/deltas.copy.gz").unlink()
    with pytest.raises(DataError, match=r"deltas\.copy\.gz"):
        later(conn, data, out)


def test_a_full_disk_is_one_sentence_and_leaves_nothing(
    conn: Connection, store: Store, data: Path, tmp_path: Path, elsewhere: Connection
) -> None:
    store(small())
    backup(conn, data, tmp_path / "backups")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, hard))
    try:
        with pytest.raises(ConfigError, match=r"cannot write to .*new: File too large; nothing was restored"):
            restore.restore(elsewhere, tmp_path / "new", tmp_path / "backups")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / "new").iterdir()) == []
    assert elsewhere.execute("SELECT to_regclass('rl_sessions')").fetchone() == (None,)


def test_one_restore_at_a_time(conn: Connection, data: Path, tmp_path: Path, elsewhere: Connection) -> None:
    backup(conn, data, tmp_path / "backups")
    with (
        psycopg.connect(elsewhere.info.dsn, autocommit=True) as other,
        ledger.alone(other),
        pytest.raises(InstanceLocked),
    ):
        restore.restore(elsewhere, tmp_path / "new", tmp_path / "backups")


def test_what_was_recorded_since_a_killed_restore_is_never_taken_back(
    conn: Connection, store: Store, data: Path, tmp_path: Path, elsewhere: Connection, new_database: NewDatabase
) -> None:
    store(small())
    backup(conn, data, tmp_path / "backups")
    new = tmp_path / "new"
    restore.restore(elsewhere, new, tmp_path / "backups")
    (new / ".restoring").mkdir()
    (new / ".restoring" / "placing-journal").touch()  # killed when all was in place
    recorded = new / "journal" / "recorded since"
    recorded.mkdir()
    with new_database("template0").connect(autocommit=True) as empty, pytest.raises(ConfigError, match="is not empty"):
        restore.restore(empty, new, tmp_path / "backups")
    assert recorded.exists()


@pytest.mark.parametrize("name", ["deltas.copy.gz", "manifest.json", "rl_sessions.csv.gz", "mine.npz"])
def test_a_flipped_byte_is_named_and_nothing_is_restored(
    conn: Connection, store: Store, data: Path, tmp_path: Path, elsewhere: Connection, name: str
) -> None:
    store(small())
    report = backup(conn, data, tmp_path / "backups")
    [damaged] = report.folder.glob(f"*/**/{name}")
    flip(damaged)
    with pytest.raises(DataError) as caught:
        restore.restore(elsewhere, tmp_path / "new", report.folder)
    assert name in str(caught.value) or str(damaged.parent) in str(caught.value)
    assert caught.value.exit_code == 6
    assert not (tmp_path / "new").exists()
    assert elsewhere.execute("SELECT to_regclass('rl_sessions')").fetchone() == (None,)


def test_a_link_in_a_backup_is_not_followed(
    conn: Connection, store: Store, data: Path, tmp_path: Path, elsewhere: Connection
) -> None:
    store(small())
    report = backup(conn, data, tmp_path / "backups")
    sessions_folder = report.folder / "sessions"
    sessions_folder.rename(tmp_path / "moved")
    sessions_folder.symlink_to(tmp_path / "moved")
    with pytest.raises(DataError, match="is a link"):
        restore.restore(elsewhere, tmp_path / "new", report.folder)


def test_only_an_empty_place_is_restored_into(
    conn: Connection, store: Store, data: Path, tmp_path: Path, elsewhere: Connection
) -> None:
    store(small())
    out = tmp_path / "backups"
    backup(conn, data, out)
    with pytest.raises(ConfigError, match="the database is not empty"):
        restore.restore(conn, tmp_path / "new", out)
    with pytest.raises(ConfigError, match="models is not empty"):
        restore.restore(elsewhere, data, out)
    with pytest.raises(ConfigError, match="no whole backup"):
        open_backup(tmp_path)


def test_a_reader_may_back_up_though_it_may_not_write_that_down(
    database: Database, conn: Connection, store: Store, data: Path, tmp_path: Path
) -> None:
    store(small())
    with psycopg.connect(database.login("kflow_reader"), autocommit=True) as reader:
        report = backup(reader, data, tmp_path / "backups")
    assert (report.noted, report.written) == (False, [1])
    assert ledger.standings(conn) == {}


def test_a_server_that_only_reads_may_be_backed_up(
    database: Database, conn: Connection, store: Store, data: Path, tmp_path: Path
) -> None:
    store(small())
    with database.connect(autocommit=True) as standby:
        standby.execute("SET default_transaction_read_only = on")
        report = backup(standby, data, tmp_path / "backups")
    assert (report.noted, report.written) == (False, [1])


def test_the_copy_that_is_still_there_is_the_one_that_is_named(
    conn: Connection, store: Store, data: Path, tmp_path: Path
) -> None:
    stored = store(small())
    folder = archived(conn, stored.id, tmp_path / "archive")
    report = backup(conn, data, tmp_path / "backups")
    assert ledger.standing(conn, stored.id).folder == folder
    pruned(conn, stored.id)
    shutil.rmtree(folder)
    with pytest.raises(DataError) as caught:
        verify(conn, stored.id)
    hint = f"bring it back: kflow db restore {report.folder}/sessions/0001 --session 1"
    assert caught.value.hint == hint


def test_a_backup_of_an_older_schema_is_brought_up_to_date(
    empty_database: Database, data: Path, tmp_path: Path, elsewhere: Connection
) -> None:
    with empty_database.connect(autocommit=True) as old:
        migrate.upgrade(old, to=10)
        report = backup(old, data, tmp_path / "backups")
    assert report.manifest.migration == 10
    restore.restore(elsewhere, tmp_path / "new", report.folder)
    assert migrate.status(elsewhere).current
