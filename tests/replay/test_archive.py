"""A session leaves the database for an archive and comes back; every digest stays what it was."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from kflow.errors import ConfigError, DataError, UsageError
from kflow.replay import restore, rowfiles
from kflow.replay.archive import archive, verify_archived
from kflow.replay.load import read_moments
from kflow.replay.verify import verify
from kflow.store import ledger, sessions
from kflow.store.postgres import Connection
from kflow.testing.postgres import Database

from .conftest import MARKETS
from .keeping import Store, archived, flip, pruned, script, small, stream_of


@pytest.mark.parametrize("sample_rate", [1, 3])
def test_archived_removed_and_brought_back_it_is_what_it_was(
    conn: Connection, store: Store, tmp_path: Path, sample_rate: int
) -> None:
    stored = store(script(), sample_rate=sample_rate, segment_bytes=20_000)
    [session] = sessions.read_sessions(conn, [stored.id])
    before, rows = verify(conn, stored.id), stream_of(conn, stored.id)
    journal = sorted((path.name, path.read_bytes()) for path in stored.directory.iterdir())
    assert before.equal
    assert len(journal) > 3
    folder = archived(conn, stored.id, tmp_path / "archive")
    assert verify_archived(folder) == before

    pruned(conn, stored.id)
    assert not stored.directory.exists()
    assert not any(stream_of(conn, stored.id).values())
    assert verify(conn, stored.id) == before, "read out of the archive"
    if sample_rate == 1:
        for source in ("tables", "journal"):
            assert sum(1 for _ in read_moments(conn, session, source=source)) > 500

    restore.restore_session(conn, tmp_path / "data", tmp_path / "archive", stored.id)
    assert stream_of(conn, stored.id) == rows
    back = tmp_path / "data" / "journal" / str(session.uuid)
    assert sorted((path.name, path.read_bytes()) for path in back.iterdir()) == journal
    assert verify(conn, stored.id) == before
    steps = [step.step for step in ledger.standing(conn, stored.id).steps]
    assert steps == ["archived", "pruning", "pruned", "restored"]
    with pytest.raises(UsageError, match="is here"):
        restore.restore_session(conn, tmp_path / "data", folder, stored.id)


def test_an_archive_is_parquet_that_others_read(conn: Connection, store: Store, tmp_path: Path) -> None:
    stored = store(script())
    folder = archived(conn, stored.id, tmp_path / "archive")
    wanted = conn.execute("SELECT count(*), sum(delta_e2) FROM rl_orderbook_deltas").fetchone()
    deltas = pq.read_table(folder / "deltas.parquet")
    assert (deltas.num_rows, sum(deltas["delta_e2"].to_pylist())) == wanted
    assert set(deltas["market_ticker"].to_pylist()) == set(MARKETS)
    assert {path.stat().st_mode & 0o777 for path in folder.rglob("*")} == {0o600, 0o700}


def test_an_archive_takes_no_room_but_its_own(
    conn: Connection, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = store(script(), segment_bytes=20_000)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "no such place"))
    assert archived(conn, stored.id, tmp_path / "archive").is_dir()


def test_large_rows_do_not_wait_in_memory_for_others(tmp_path: Path) -> None:
    rows = rowfiles.RowFile(tmp_path, "frames", 1, {})
    for number in range(40):
        rows.add_rows([(number, None, 1, 1, None, "odd", None, bytes(2**18)) for _ in range(20)])  # 5 MiB
    rows.close()
    with pq.ParquetFile(tmp_path / "frames.parquet") as file:
        groups = [file.metadata.row_group(place).num_rows for place in range(file.num_row_groups)]
    assert sum(groups) == 800
    assert max(groups) * 2**18 <= 70 * 2**20


def test_what_is_archived_is_left_as_it_is_and_a_damaged_one_is_named(
    conn: Connection, store: Store, tmp_path: Path
) -> None:
    stored = store(small())
    out = tmp_path / "archive"
    folder = archived(conn, stored.id, out)
    [again] = archive(conn, [stored.id], out)
    assert again.state == "unchanged"
    assert [step.step for step in ledger.standing(conn, stored.id).steps] == ["archived"]
    flip(folder / "deltas.parquet")
    for reading in (lambda: list(archive(conn, [stored.id], out)), lambda: [verify_archived(folder)]):
        with pytest.raises(DataError, match=r"deltas\.parquet is not what was written"):
            reading()


def test_an_open_session_and_one_of_another_database_are_refused(
    conn: Connection, store: Store, tmp_path: Path
) -> None:
    stored = store(small())
    out = tmp_path / "archive"
    archived(conn, stored.id, out)
    conn.execute("UPDATE rl_sessions SET uuid = gen_random_uuid()")
    with pytest.raises(ConfigError, match="another session of that number"):
        list(archive(conn, [stored.id], out))
    conn.execute("UPDATE rl_sessions SET state = 'open'")
    with pytest.raises(UsageError, match="has not ended"):
        list(archive(conn, [stored.id], tmp_path / "other"))


def test_an_archive_comes_into_a_database_that_never_heard_of_it(
    conn: Connection, store: Store, tmp_path: Path, new_database: Callable[[], Database]
) -> None:
    """Whose markets have other numbers there."""
    stored = store(script())
    before = verify(conn, stored.id)
    out = tmp_path / "archive"
    archived(conn, stored.id, out)
    with new_database().connect(autocommit=True) as other:
        for ticker in ("X", MARKETS[1]):
            sessions.upsert_market(other, sessions.Market(ticker=ticker, updated_ns=1))
        restore.restore_session(other, tmp_path / "data", out, stored.id)
        assert verify(other, stored.id) == before
        assert other.execute("SELECT ticker FROM rl_markets ORDER BY id").fetchall() == [
            ("X",), (MARKETS[1],), (MARKETS[0],),
        ]  # fmt: skip


def test_rows_that_are_away_with_their_archive_say_where_they_were(
    conn: Connection, store: Store, tmp_path: Path
) -> None:
    stored = store(small())
    folder = archived(conn, stored.id, tmp_path / "archive")
    pruned(conn, stored.id)
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=f"its copy is in {folder}") as caught:
        verify(conn, stored.id)
    assert "kflow db restore" in caught.value.hint
    assert verify_archived(tmp_path / "elsewhere").equal
