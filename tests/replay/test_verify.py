"""Whatever is done to the rows, the journal or the truth log is found, and nothing is found where nothing was done."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import LiteralString

import pytest

from kflow.errors import DataError, DigestMismatch, JournalError, UsageError
from kflow.replay.verify import Verdict, verify
from kflow.store import sessions
from kflow.store.postgres import Connection

from .conftest import T0_NS, Flow, Script, Stored, write_truth

Store = Callable[..., Stored]


@pytest.fixture
def stored(store: Store) -> Stored:
    return store(Script([Flow(1).take(400), Flow(2).take(300)]))


def found(verdict: Verdict) -> str:
    assert not verdict.equal
    with pytest.raises(DigestMismatch) as caught:
        verdict.require()
    assert caught.value.exit_code == 6
    return "; ".join(verdict.differences)


def test_an_untouched_session_is_equal(conn: Connection, stored: Stored) -> None:
    verdict = verify(conn, stored.id)
    assert verdict.differences == ()
    verdict.require()
    assert verdict.equal
    assert verdict.digest_journal == verdict.digest_tables
    assert (
        verdict.messages
        == 710
        == sum(verdict.tables[k] for k in ("deltas", "snapshots", "trades", "tickers", "frames"))
    )
    assert verdict.journal == verdict.tables
    assert (verdict.gaps, verdict.crossed, verdict.duplicates, verdict.wrong_sizes) == (1, 0, 0, 0)
    assert verdict.gap_kinds == {"disconnect": 1}
    assert [(d.kind, d.ended_ns is not None) for d in verdict.downtime] == [("disconnect", True)]
    assert not verdict.sampled
    assert verdict.unloaded_bytes == 0


ONE = "(SELECT ctid FROM rl_orderbook_deltas_20260101 WHERE seq = 57 AND connection = 1)"
DAMAGE: dict[str, tuple[LiteralString, str]] = {
    "a flipped side": (
        f"UPDATE rl_orderbook_deltas_20260101 SET side = 1 - side WHERE ctid = {ONE}",
        "the books of connection 1, subscription 1 differ",
    ),
    "a flipped price": (
        f"UPDATE rl_orderbook_deltas_20260101 SET price_e4 = price_e4 + 1 WHERE ctid = {ONE}",
        "differ",
    ),
    "a wrong change": (f"UPDATE rl_orderbook_deltas_20260101 SET delta_e2 = delta_e2 + 1 WHERE ctid = {ONE}", "differ"),
    "a wrong size": (
        f"UPDATE rl_orderbook_deltas_20260101 SET size_e2 = size_e2 + 1 WHERE ctid = {ONE}",
        "rows have a size that does not follow",
    ),
    "an unknown size": (f"UPDATE rl_orderbook_deltas_20260101 SET size_e2 = NULL WHERE ctid = {ONE}", "differ"),
    "a wrong venue time": (
        f"UPDATE rl_orderbook_deltas_20260101 SET venue_us = venue_us + 1 WHERE ctid = {ONE}",
        "differ",
    ),
    "a wrong receive time": (
        f"UPDATE rl_orderbook_deltas_20260101 SET recv_ns = recv_ns + 1 WHERE ctid = {ONE}",
        "the receive times of the deltas differ",
    ),
    "a wrong flag": (f"UPDATE rl_orderbook_deltas_20260101 SET flags = 1 WHERE ctid = {ONE}", "does not follow"),
    "another market": (
        f"UPDATE rl_orderbook_deltas_20260101 SET market_id = market_id + 7 WHERE ctid = {ONE}",
        "differ",
    ),
    "a missing delta": (f"DELETE FROM rl_orderbook_deltas_20260101 WHERE ctid = {ONE}", "deltas, the tables have"),
    "a repeated delta": (
        f"INSERT INTO rl_orderbook_deltas SELECT * FROM rl_orderbook_deltas_20260101 WHERE ctid = {ONE}",
        "deltas, the tables have",
    ),
    "a missing snapshot": (
        "DELETE FROM rl_orderbook_snapshots WHERE seq = 1 AND connection = 2",
        "snapshots, the tables have",
    ),
    "a changed level": (
        "UPDATE rl_orderbook_snapshots SET yes_sizes[1] = yes_sizes[1] + 1 WHERE seq = 2 AND connection = 2",
        "connection 2, subscription 1 differ",
    ),
    "a snapshot's other reason": (
        "UPDATE rl_orderbook_snapshots SET reason = 'check' WHERE seq = 1 AND connection = 1",
        "the snapshots differ",
    ),
    "a changed trade": ("UPDATE rl_trades SET size_e2 = size_e2 + 1 WHERE seq = 3 AND connection = 1", "trades differ"),
    "a missing ticker": (
        "DELETE FROM rl_tickers WHERE ctid = (SELECT min(ctid) FROM rl_tickers)",
        "tickers, the tables have",
    ),
    "a repeated trade": (
        "INSERT INTO rl_trades SELECT * FROM rl_trades WHERE seq = 3 AND connection = 1",
        "trades, the tables have",
    ),
    "a changed frame": (
        "UPDATE rl_frames SET raw = raw || '\\x20' WHERE ctid = (SELECT min(ctid) FROM rl_frames)",
        "the frames differ",
    ),
    "a missing gap": ("DELETE FROM rl_gaps", "the journal has 1 gaps, the tables have 0"),
    "another kind of gap": ("UPDATE rl_gaps SET kind = 'downtime'", "the gaps differ"),
    "a missing connection": (
        "DELETE FROM rl_connections WHERE connection = 2",
        "the journal has 2 connections, the tables have 1",
    ),
    "rows of nobody": (
        "UPDATE rl_orderbook_deltas SET connection = 9 WHERE connection = 2",
        "differ",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_to_the_rows_is_found(conn: Connection, stored: Stored, damage: tuple[LiteralString, str]) -> None:
    statement, sentence = damage
    assert conn.execute(statement).rowcount >= 1
    assert sentence in found(verify(conn, stored.id))


def test_repeated_rows_are_counted(conn: Connection, stored: Stored) -> None:
    conn.execute("INSERT INTO rl_orderbook_deltas SELECT * FROM rl_orderbook_deltas WHERE seq BETWEEN 20 AND 60")
    conn.execute("INSERT INTO rl_trades SELECT * FROM rl_trades WHERE seq = 3")
    repeated = conn.execute("SELECT count(*) / 2 FROM rl_orderbook_deltas WHERE seq BETWEEN 20 AND 60").fetchone()
    assert repeated is not None
    assert verify(conn, stored.id).duplicates == repeated[0] + 2


def test_a_crossed_group_is_counted_and_equal(conn: Connection, store: Store) -> None:
    flow = Flow(3)
    frames = flow.take(40)
    half = len(frames)
    crossing = flow.delta(flow._markets[0])
    text = crossing.decode()
    for side, price in (("yes", "0.9000"), ("no", "0.9000")):
        message = json.loads(text)
        message["msg"] |= {"side": side, "price_dollars": price, "delta_fp": "5.00", "ts": "2026-02-01T00:00:00Z"}
        message["seq"] = flow.seq
        flow.seq += 1
        frames.append(json.dumps(message).encode())
    flow.seq -= 1
    frames += [flow.delta(flow._markets[1]) for _ in range(3)]
    verdict = verify(conn, store(Script([frames])).id)
    assert len(frames) == half + 5
    assert verdict.equal
    assert verdict.crossed == 1
    assert verdict.gap_kinds == {"crossed": 1}


def test_a_sampled_session_is_compared_by_what_it_keeps(conn: Connection, store: Store) -> None:
    stored = store(Script([Flow(1).take(400)]), sample_rate=5)
    verdict = verify(conn, stored.id)
    assert verdict.equal
    assert verdict.sampled
    assert verdict.crossed is None
    assert verdict.sample_rate == 5
    assert 0 < verdict.tables["deltas"] < 100
    conn.execute(
        "UPDATE rl_orderbook_deltas SET size_e2 = size_e2 + 1 WHERE seq = (SELECT max(seq) FROM rl_orderbook_deltas)"
    )
    assert "subscription 1 differ" in found(verify(conn, stored.id))


def test_an_open_session_is_compared_as_far_as_it_is_loaded(conn: Connection, stored: Stored) -> None:
    conn.execute("UPDATE rl_sessions SET state = 'open', ended_ns = NULL")
    watermark = sessions.read_watermark(conn, stored.id)
    with (stored.directory / f"{0:020d}.kfj").open("ab") as journal:
        journal.write(b"half a record")
    verdict = verify(conn, stored.id)
    assert verdict.equal
    assert verdict.unloaded_bytes == 13
    assert verdict.unloaded_bytes + watermark == (stored.directory / f"{0:020d}.kfj").stat().st_size


def test_frames_that_never_reached_the_tables_are_found(conn: Connection, store: Store, tmp_path: Path) -> None:
    stored = store(Script([Flow(1).take(50)]))
    longer = store(Script([Flow(1).take(60)]), name="longer")
    conn.execute("UPDATE rl_sessions SET uuid = gen_random_uuid() WHERE id = %s", [longer.id])
    uuid = conn.execute("SELECT uuid FROM rl_sessions WHERE id = %s", [stored.id]).fetchone()
    segment = longer.directory / f"{0:020d}.kfj"
    data = bytearray(segment.read_bytes())
    assert uuid is not None
    data[16:32] = uuid[0].bytes  # type: ignore[attr-defined]
    segment.write_bytes(data)
    assert "deltas, the tables have" in found(verify(conn, stored.id, journal=longer.directory))


def test_damage_to_the_journal_is_found(conn: Connection, stored: Stored) -> None:
    segment = stored.directory / f"{0:020d}.kfj"
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    assert "the journal is damaged from offset" in found(verify(conn, stored.id))


def test_a_journal_of_many_segments_is_read_whole(conn: Connection, store: Store) -> None:
    stored = store(Script([Flow(1).take(300)]), segment_bytes=20_000)
    assert len(list(stored.directory.glob("*.kfj"))) > 3
    assert verify(conn, stored.id).equal
    min(stored.directory.glob("*.kfj")).unlink()
    with pytest.raises(DataError, match="the beginning of the journal of session 1 was removed"):
        verify(conn, stored.id)


def test_what_cannot_be_compared_is_said(conn: Connection, stored: Stored, store: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no session has the number 9"):
        verify(conn, 9)
    with pytest.raises(DataError, match="is not in"):
        verify(conn, stored.id, journal=tmp_path / "elsewhere")
    other = store(Script([Flow(5).take(5)]), name="other")
    with pytest.raises(DataError, match="is the journal of"):
        verify(conn, stored.id, journal=other.directory)
    with pytest.raises(JournalError):
        verify(conn, stored.id, truth=tmp_path)
    with conn.transaction(), pytest.raises(ValueError, match="in a transaction"):
        verify(conn, stored.id)


class TestTruth:
    """The journal of a session held against what was sent to it."""

    def test_all_of_it_arrived(self, conn: Connection, stored: Stored, tmp_path: Path) -> None:
        write_truth(tmp_path / "truth", [Flow(1).take(400), Flow(2).take(300)])
        verdict = verify(conn, stored.id, truth=tmp_path / "truth")
        assert verdict.differences == ()
        assert verdict.truth is not None
        assert verdict.truth.frames == verdict.truth.journalled == verdict.messages
        assert (verdict.truth.lost, verdict.truth.unknown) == (0, 0)
        assert verdict.truth.digest == verdict.digest_journal

    def test_what_follows_a_cut_is_lost_inside_a_gap(self, conn: Connection, stored: Stored, tmp_path: Path) -> None:
        write_truth(tmp_path / "truth", [Flow(1).take(430), Flow(2).take(300)])
        verdict = verify(conn, stored.id, truth=tmp_path / "truth")
        assert verdict.equal
        assert verdict.truth is not None
        assert (verdict.truth.lost, verdict.truth.lost_outside_gaps) == (30, 0)

    def test_an_end_that_nobody_recorded_is_found(self, conn: Connection, store: Store, tmp_path: Path) -> None:
        stored = store(Script([Flow(1).take(100)], ends=False))
        write_truth(tmp_path / "truth", [Flow(1).take(130)])
        assert "30 frames that were sent are lost" in found(verify(conn, stored.id, truth=tmp_path / "truth"))

    def test_a_hole_that_nobody_recorded_is_found(self, conn: Connection, stored: Stored, tmp_path: Path) -> None:
        sent = Flow(1).take(400)
        write_truth(tmp_path / "truth", [[*sent[:200], b'{"type":"trade"}', *sent[200:]], Flow(2).take(300)])
        verdict = verify(conn, stored.id, truth=tmp_path / "truth")
        assert "1 frames that were sent are lost, and no gap says so" in found(verdict)

    def test_a_hole_with_its_gap_row_is_accounted_for(self, conn: Connection, store: Store, tmp_path: Path) -> None:
        sent = Flow(1).take(400)
        at = next(n for n in range(200, 400) if b"orderbook_delta" in sent[n])
        stored = store(Script([[*sent[:at], *sent[at + 1 :]]]))
        write_truth(tmp_path / "truth", [sent])
        verdict = verify(conn, stored.id, truth=tmp_path / "truth")
        assert verdict.gap_kinds == {"sequence": 1}
        assert verdict.truth is not None
        assert (verdict.truth.lost, verdict.truth.lost_outside_gaps) == (1, 0)
        assert verdict.equal

    def test_a_frame_that_was_never_sent_is_found(self, conn: Connection, stored: Stored, tmp_path: Path) -> None:
        write_truth(tmp_path / "truth", [Flow(1).take(399), Flow(2).take(300)])
        assert "1 frames were never sent like that" in found(verify(conn, stored.id, truth=tmp_path / "truth"))

    def test_a_connection_that_was_never_made_is_found(self, conn: Connection, stored: Stored, tmp_path: Path) -> None:
        write_truth(tmp_path / "truth", [Flow(1).take(400)])
        assert "does not know connection 2" in found(verify(conn, stored.id, truth=tmp_path / "truth"))

    def test_a_whole_lost_connection_is_found(self, conn: Connection, stored: Stored, tmp_path: Path) -> None:
        write_truth(tmp_path / "truth", [Flow(1).take(400), Flow(2).take(300), Flow(8).take(20)])
        verdict = verify(conn, stored.id, truth=tmp_path / "truth")
        assert verdict.truth is not None
        assert verdict.truth.lost == 25
        assert "25 frames that were sent are lost" in found(verdict)

    def test_a_connection_of_the_next_session_is_not_this_ones(
        self, conn: Connection, stored: Stored, store: Store, tmp_path: Path
    ) -> None:
        """The next ingest records already while it completes the session of one that was killed."""
        following = store(Script([Flow(8).take(20)], start_ns=T0_NS + 65_500_000), name="following")
        write_truth(tmp_path / "truth", [Flow(1).take(400), Flow(2).take(300), Flow(8).take(20)])
        for session, frames in ((stored, 710), (following, 25)):
            verdict = verify(conn, session.id, truth=tmp_path / "truth")
            assert verdict.differences == ()
            assert verdict.truth is not None
            assert (verdict.truth.frames, verdict.truth.lost) == (frames, 0)

    def test_the_order_of_connections_does_not_matter(self, conn: Connection, stored: Stored, tmp_path: Path) -> None:
        write_truth(tmp_path / "truth", [Flow(2).take(300), Flow(1).take(400)])
        assert verify(conn, stored.id, truth=tmp_path / "truth").equal

    def test_a_session_that_goes_on_cannot_be_judged(self, conn: Connection, stored: Stored, tmp_path: Path) -> None:
        write_truth(tmp_path / "truth", [Flow(1).take(400)])
        conn.execute("UPDATE rl_sessions SET state = 'open', ended_ns = NULL")
        with pytest.raises(DataError, match="has not ended"):
            verify(conn, stored.id, truth=tmp_path / "truth")


def test_verifying_leaves_the_connection_free(conn: Connection, stored: Stored) -> None:
    heard = 0

    def progress(amount: int) -> None:
        nonlocal heard
        heard += amount

    assert verify(conn, stored.id, progress=progress).equal
    assert heard >= 2 * 700
    assert conn.execute("UPDATE rl_sessions SET state = 'closed'").rowcount == 1
