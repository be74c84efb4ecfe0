"""A session leaves the database for an archive and comes back; every digest stays what it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from kflow.replay import prune, restore
from kflow.replay.archive import archive, verify_archived
from kflow.replay.load import read_moments
from kflow.replay.verify import verify
from kflow.store import ledger, sessions
from kflow.store.postgres import Connection

from .conftest import MARKETS, T0_NS, Flow, Script, Stored

Store = Callable[..., Stored]
LATER_NS = T0_NS + 40 * sessions.DAY_NS
STREAM = ("rl_orderbook_deltas", "rl_orderbook_snapshots", "rl_trades", "rl_tickers", "rl_frames", "rl_gaps")


def rows_of(conn: Connection, session: int) -> dict[str, list[object]]:
    """Every column of every row."""
    return {
        table: sorted(
            str(row)
            for row in conn.execute(f"SELECT * FROM {table} WHERE session_id = %s", [session])  # type: ignore[arg-type]
        )
        for table in STREAM
    }


def script() -> Script:
    """Two connections; on the first the venue counts anew in mid-stream."""
    flow = Flow(4)
    frames = flow.take(200)
    flow.seq = 0
    frames += [flow.delta() for _ in range(70)] + [flow.snapshot(market) for market in flow._markets]
    frames += [flow.delta() for _ in range(50)] + [b'{"type":"odd","sid":9}']
    return Script([frames, Flow(2).take(300)])


def archived(conn: Connection, number: int, out: Path) -> Path:
    [done] = archive(conn, [number], out)
    return done.folder


def pruned(conn: Connection, *numbers: int, **options: bool) -> prune.Plan:
    planned = prune.plan(conn, numbers, now_ns=LATER_NS, **options)
    prune.prune(conn, planned)
    return planned


@pytest.mark.parametrize("sample_rate", [1, 3])
def test_archived_removed_and_brought_back_it_is_what_it_was(
    conn: Connection, store: Store, tmp_path: Path, sample_rate: int
) -> None:
    stored = store(script(), sample_rate=sample_rate, segment_bytes=20_000)
    before, rows = verify(conn, stored.id), rows_of(conn, stored.id)
    segments = sorted((path.name, path.read_bytes()) for path in stored.directory.iterdir() if path.name != "lock")
    assert before.equal
    folder = archived(conn, stored.id, tmp_path / "archive")
    assert folder == tmp_path / "archive" / "0001"
    assert verify_archived(folder) == before

    pruned(conn, stored.id)
    assert not stored.directory.exists()
    assert rows_of(conn, stored.id) | {"rl_gaps": []} == {table: [] for table in STREAM}
    assert verify(conn, stored.id) == before  # read out of the archive
    if sample_rate == 1:
        [session] = sessions.read_sessions(conn, [stored.id])
        for source in ("tables", "journal"):
            assert sum(1 for _ in read_moments(conn, session, source=source)) > 500

    data = tmp_path / "data"
    restore.restore_session(conn, data, tmp_path / "archive", stored.id)
    assert rows_of(conn, stored.id) == rows
    back = data / "journal" / str(before_uuid(conn, stored.id))
    assert sorted((path.name, path.read_bytes()) for path in back.iterdir()) == segments
    assert verify(conn, stored.id) == before
    assert [step.step for step in ledger.standing(conn, stored.id).steps] == [
        "archived", "pruning", "pruned", "restored",
    ]  # fmt: skip


def before_uuid(conn: Connection, number: int) -> object:
    [session] = sessions.read_sessions(conn, [number])
    return session.uuid


def test_an_archive_is_parquet_that_others_read(conn: Connection, store: Store, tmp_path: Path) -> None:
    stored = store(script())
    folder = archived(conn, stored.id, tmp_path / "archive")
    wanted = conn.execute("SELECT count(*), sum(delta_e2) FROM rl_orderbook_deltas").fetchone()
    deltas = pq.read_table(folder / "deltas.parquet")
    assert (deltas.num_rows, sum(deltas["delta_e2"].to_pylist())) == wanted
    assert set(deltas["market_ticker"].to_pylist()) == set(MARKETS)
