"""Exports: each format gives back what it says it carries; runs are safe to repeat, to kill and to race."""

from __future__ import annotations

import csv
import fcntl
import gzip
import itertools
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kflow.errors import ConfigError, DataError, InstanceLocked, UsageError
from kflow.market.events import BookDelta, BookSnapshot, SnapshotReason, Trade
from kflow.replay.export import Report, Request, export, safe_name
from kflow.replay.formats import FORMATS, Target, format_named, hftbacktest, lobster, parquet
from kflow.replay.load import GapMark, Moment, Pick, Source, parse_sessions, parse_time, read_moments
from kflow.session.digest import BookDigest
from kflow.store import sessions
from kflow.store.postgres import Connection
from kflow.units import Price, Size

from .conftest import MARKETS, T0_NS, Flow, Script, Stored

Store = Callable[..., Stored]
BEFORE_MIDNIGHT = T0_NS - 60_000_000


def eventful() -> Script:
    """Two connections over midnight: a lost frame and its resync, an empty book, checks, trades."""
    flow = Flow(21, start_ns=BEFORE_MIDNIGHT)
    frames = flow.take(120)
    flow.delta()  # lost on its way
    frames += [flow.delta() for _ in range(6)]
    frames += [flow.snapshot(market) for market in MARKETS]
    frames += [flow.delta() for _ in range(40)]
    frames.append(flow.emptied(MARKETS[0]))
    frames += [flow.delta(MARKETS[1]) for _ in range(9)] + [flow.delta() for _ in range(20)]
    again = Flow(22, start_ns=T0_NS + 3_000_000_000)
    return Script([frames, again.take(90)], start_ns=BEFORE_MIDNIGHT)


@pytest.fixture
def stored(store: Store) -> Stored:
    return store(eventful())


@pytest.fixture
def run(conn: Connection, tmp_path: Path) -> Callable[..., Report]:
    def go(name: str = "jsonl", **options: object) -> Report:
        request = Request(out=tmp_path / "out", format=format_named(name), sessions=[1])
        return export(conn, replace(request, **options))  # type: ignore[arg-type]

    return go


def files_of(out: Path, report: Report, market: str = MARKETS[0]) -> list[Path]:
    [written] = [one for one in report.written if one.market == market]
    return [out / file["name"] for file in written.files]


def book_digest(moments: Iterator[Moment]) -> str:
    digest = BookDigest()
    for moment in moments:
        if not isinstance(moment.event, GapMark):
            digest.add(moment.connection, moment.event)
    return digest.hexdigest()


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_gives_back_what_it_carries(
    conn: Connection, stored: Stored, run: Callable[..., Report], tmp_path: Path, name: str
) -> None:
    report = run(name)
    assert [one.market for one in report.written] == list(MARKETS)
    for written in report.written:
        paths = files_of(tmp_path / "out", report, written.market)
        assert FORMATS[name].read_levels(paths).hexdigest() == written.level_digest
        if FORMATS[name].whole:
            assert book_digest(FORMATS[name].read(paths)) == written.digest
            session = sessions.read_sessions(conn, [stored.id])[0]
            wanted = list(read_moments(conn, session, Pick(markets=frozenset([written.market]))))
            found = list(FORMATS[name].read(paths))
            assert [(m.recv_ns, m.venue_us) for m in found] == [(m.recv_ns, m.venue_us) for m in wanted]
            assert [m.event for m in found if not m.carried] == [m.event for m in wanted]
        assert {gap["kind"] for gap in written.gaps} >= {"sequence", "disconnect"}
        assert written.counts["BookDelta"] > 50


@pytest.mark.parametrize("name", FORMATS)
def test_the_journal_exports_as_the_tables_do(
    stored: Stored, run: Callable[..., Report], tmp_path: Path, name: str
) -> None:
    of_tables = run(name).written
    of_journal = run(name, source="journal", out=tmp_path / "journal").written
    for table, journal in zip(of_tables, of_journal, strict=True):
        assert (table.digest, table.level_digest, table.counts) == (
            journal.digest,
            journal.level_digest,
            journal.counts,
        )


def test_parquet_carries_what_it_is(run: Callable[..., Report], stored: Stored, tmp_path: Path) -> None:
    report = run("parquet")
    [path] = files_of(tmp_path / "out", report)
    facts = parquet.metadata(path)
    assert facts["digest"] == report.written[0].digest
    assert facts["market"] == MARKETS[0]
    assert facts["schema_version"] == 1
    assert {gap["kind"] for gap in facts["gaps"]} == {"sequence", "disconnect"}


def test_parquet_in_folders(run: Callable[..., Report], stored: Stored, tmp_path: Path) -> None:
    report = run("parquet", partitioned=True)
    names = [file["name"] for file in report.written[0].files]
    assert names == [
        f"session=1/market={MARKETS[0]}/date=2025-12-31/part.parquet",
        f"session=1/market={MARKETS[0]}/date=2026-01-01/part.parquet",
    ]
    paths = [tmp_path / "out" / name for name in names]
    assert book_digest(parquet.read(paths)) == report.written[0].digest
    assert "market" not in parquet.pq.read_schema(paths[0]).names


def test_lobster_books_stand_beside_their_messages(run: Callable[..., Report], stored: Stored, tmp_path: Path) -> None:
    report = run("lobster", levels=3)
    paths = files_of(tmp_path / "out", report)
    assert [path.name.split("_", 1)[1] for path in paths] == [
        "2025-12-31_message_3.csv",
        "2025-12-31_orderbook_3.csv",
        "2026-01-01_message_3.csv",
        "2026-01-01_orderbook_3.csv",
    ]
    for messages, books in (paths[:2], paths[2:]):
        rows, beside = ([line.split(",") for line in path.read_text().splitlines()] for path in (messages, books))
        assert len(rows) == len(beside) > 15
        assert {len(row) for row in rows} == {6}
        assert {len(row) for row in beside} == {12}
        assert all(float(a[0]) <= float(b[0]) for a, b in itertools.pairwise(rows))
        sizes: dict[tuple[int, int], int] = {}
        for row, book in zip(rows, beside, strict=True):
            _, kind, _, size, price, direction = (float(cell) for cell in row)
            if kind in (lobster.GREW, lobster.SHRANK, lobster.WENT):
                key = (int(direction), int(price))
                sizes[key] = sizes.get(key, 0) + int(size if kind == lobster.GREW else -size)
            asks = sorted(p for (d, p), s in sizes.items() if d < 0 and s)[:3]
            bids = sorted((p for (d, p), s in sizes.items() if d > 0 and s), reverse=True)[:3]
            shown = [int(cell) for cell in book]
            assert [p for p in shown[0::4] if p != 9_999_999_999] == asks
            assert [p for p in shown[2::4] if p != -9_999_999_999] == bids
            assert shown[1::4][: len(asks)] == [sizes[-1, p] for p in asks]
    kinds = [message.kind for message in lobster.read_messages(paths)]
    assert kinds.count(lobster.HALT) == 4  # a lost frame and a cut, each with its end


def test_tardis_files_are_those_of_tardis(run: Callable[..., Report], stored: Stored, tmp_path: Path) -> None:
    report = run("tardis")
    paths = files_of(tmp_path / "out", report)
    assert paths[1].name == f"kalshi_incremental_book_L2_2026-01-01_{MARKETS[0]}.csv.gz"
    with gzip.open(paths[1], "rt") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "exchange",
        "symbol",
        "timestamp",
        "local_timestamp",
        "is_snapshot",
        "side",
        "price",
        "amount",
    ]
    assert rows[0]["is_snapshot"] == "true"
    assert {row["side"] for row in rows} == {"bid", "ask"}
    assert all(float(row["price"]) < 1 for row in rows)


def test_hftbacktest_events_are_in_order_and_positive(
    run: Callable[..., Report], stored: Stored, tmp_path: Path
) -> None:
    report = run("hftbacktest")
    [path] = files_of(tmp_path / "out", report)
    with np.load(path) as archive:
        events = archive["data"]
    assert events.dtype == hftbacktest.EVENT
    assert events.dtype.itemsize == 64
    assert (np.diff(events["exch_ts"]) >= 0).all()
    assert (np.diff(events["local_ts"]) >= 0).all()
    assert (events["local_ts"] >= events["exch_ts"]).all()
    assert report.written[0].facts["local_shift_ns"] >= 0
    seen = events["ev"] & (hftbacktest.EXCH | hftbacktest.LOCAL)
    assert (seen != 0).all()
    assert (events["ev"][seen != hftbacktest.EXCH | hftbacktest.LOCAL] & 0xFF == hftbacktest.TRADE).all()
    gaps = events[(events["ev"] & 0xFF == hftbacktest.CLEAR) & (events["ival"] == hftbacktest.GAP)]
    assert len(gaps) == 4  # a lost frame and a cut, on both sides


def test_a_trade_reaches_hftbacktests_queues_before_the_sizes_that_it_changed(tmp_path: Path) -> None:
    """The venue tells of it afterwards: taken as it came, it would leave a queue twice, withdrawn and traded."""
    target = Target(directory=tmp_path, stem="M", market="M", session=1, began_us=0, levels=2)
    writer = hftbacktest.Writer(target)
    at_us = 1_767_225_600_000_000

    def delta(seq: int, side: int, price: int, size: int, us: int) -> Moment:
        event = BookDelta("M", 1, seq, side, Price(price), Size(-100), Size(size), None, None)
        return Moment(1, (at_us + us) * 1000 + 5_000_000, at_us + us, event)

    def trade(taker: int | None, price: int, ms: int) -> Moment:
        event = Trade("M", 2, 1, None, Price(price), Size(100), taker, False, ms)
        return Moment(1, (at_us + 1000 * ms) * 1000 + 6_000_000, at_us + 1000 * ms, event)

    writer.write(Moment(1, at_us * 1000 + 5_000_000, at_us, snapshot_of("M")))
    for moment in (
        delta(2, 0, 4400, 400, 1_100),  # a moment before
        delta(3, 0, 4400, 300, 2_100),  # the trade of the millisecond 2 did this
        delta(4, 1, 5600, 300, 2_200),  # a NO bid at 56 is a YES ask at 44: another level
        delta(5, 0, 4400, 200, 2_300),
        trade(1, 4400, 2),  # who bought NO met the YES bid
        trade(0, 4400, 2),  # and who bought YES the ask
        trade(0, 9900, 2),  # a level that did not change
        trade(None, 4400, 2),  # nobody says whose it was
    ):
        writer.write(moment)
    writer.close({})
    with np.load(tmp_path / "M.npz") as archive:
        events = archive["data"]
    assert (np.diff(events["exch_ts"]) >= 0).all()
    assert (np.diff(events["local_ts"]) >= 0).all()
    both, where = hftbacktest.EXCH | hftbacktest.LOCAL, {hftbacktest.EXCH: "exch", hftbacktest.LOCAL: "local"}
    names = {hftbacktest.DEPTH: "depth", hftbacktest.TRADE: "trade"}
    told = [
        (
            names[kind],
            where.get(ev & both, "both"),
            "buy" if ev & hftbacktest.BUY else "sell" if ev & hftbacktest.SELL else "",
            us,
        )
        for ev, exch_ns, *_ in events.tolist()
        if (kind := ev & 0xFF) in names and (us := exch_ns // 1000 - at_us) >= 0
    ]
    assert told == [
        ("depth", "both", "buy", 1_100),
        ("trade", "exch", "sell", 2_100),
        ("depth", "both", "buy", 2_100),
        ("trade", "exch", "buy", 2_200),
        ("depth", "both", "sell", 2_200),
        ("depth", "both", "buy", 2_300),
        ("trade", "local", "sell", 2_300),
        ("trade", "local", "buy", 2_300),
        ("trade", "both", "buy", 2_300),
        ("trade", "both", "", 2_300),
    ]


def snapshot_of(market: str) -> BookSnapshot:
    levels = ((Price(4400), Size(500)),), ((Price(5600), Size(500)),)
    return BookSnapshot(market, None, 1, 1, *levels, SnapshotReason.SUBSCRIBE, None)


def test_the_same_session_makes_the_same_bytes(
    conn: Connection, stored: Stored, run: Callable[..., Report], tmp_path: Path
) -> None:
    for name in FORMATS:
        first = [one.files for one in run(name, out=tmp_path / "one").written]
        second = [one.files for one in run(name, out=tmp_path / "two").written]
        assert first == second


@pytest.mark.usefixtures("stored")
class TestTwice:
    """Running again."""

    def test_what_is_finished_is_left_alone(self, run: Callable[..., Report], tmp_path: Path) -> None:
        first = run()
        stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.is_file()}
        second = run()
        assert [one.market for one in second.skipped] == list(MARKETS)
        assert second.written == []
        assert second.skipped == first.written
        assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.is_file()} == stamps

    @pytest.mark.parametrize("damage", ["cut", "changed", "gone", "manifest"])
    def test_what_is_damaged_is_written_anew(self, run: Callable[..., Report], tmp_path: Path, damage: str) -> None:
        first = run()
        [path] = files_of(tmp_path / "out", first)
        whole = path.read_bytes()
        if damage == "cut":
            path.write_bytes(whole[:-10])
        elif damage == "changed":
            path.write_bytes(whole[:-10] + b"x" * 10)
        elif damage == "gone":
            path.unlink()
        else:
            path.with_name(f"{path.name}.json").write_text("{")
        second = run()
        assert [one.market for one in second.written] == [MARKETS[0]]
        assert path.read_bytes() == whole

    def test_another_request_replaces_the_files(self, run: Callable[..., Report], tmp_path: Path) -> None:
        run("lobster")
        again = run("lobster", pick=Pick(start_ns=T0_NS + 10**9))
        assert len(again.written) == 2
        left = {path.name for path in (tmp_path / "out" / "0001").glob("*.csv")}
        assert left == {Path(file["name"]).name for one in again.written for file in one.files}
        assert not any("2025-12-31" in name for name in left)

    def test_leftovers_of_a_killed_run_are_removed(self, run: Callable[..., Report], tmp_path: Path) -> None:
        folder = tmp_path / "out" / "0001" / f".part-{MARKETS[0]}"
        folder.mkdir(parents=True)
        (folder / "half").write_text("half")
        run()
        assert sorted(path.name for path in (tmp_path / "out" / "0001").iterdir()) == sorted(
            name for market in MARKETS for name in (f"{market}.jsonl", f"{market}.jsonl.json")
        )

    def test_a_second_run_at_the_same_time_is_refused(self, run: Callable[..., Report], tmp_path: Path) -> None:
        run()
        with (tmp_path / "out" / ".kflow-export.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with pytest.raises(InstanceLocked) as caught:
                run()
        assert caught.value.exit_code == 8
        assert run().written == []


@pytest.mark.usefixtures("stored")
class TestBounds:
    """Nothing is written outside the folder, nothing half."""

    @pytest.mark.parametrize(
        ("text", "name"),
        [
            ("KXBTC-26.5", "KXBTC-26.5"),
            ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"),
            ("a/b", "a%2Fb"),
            ("", "%2E"),
            (".", "%2E"),
            ("é\0 ", "%C3%A9%00%20"),
        ],
    )
    def test_names_are_safe(self, text: str, name: str) -> None:
        assert safe_name(text) == name

    def test_long_names_stay_apart(self) -> None:
        one, other = safe_name("x" * 500), safe_name("x" * 501)
        assert one != other
        assert len(one) < 150

    def test_a_market_with_a_strange_name_stays_inside(
        self, store: Store, run: Callable[..., Report], tmp_path: Path
    ) -> None:
        evil = "../../evil/\x1b[2J"
        odd = store(Script([Flow(5, markets=(evil,)).take(30)]), name="odd")
        report = run("csv", sessions=[odd.id])
        assert [one.market for one in report.written] == [evil, *MARKETS]
        assert {path.parent for path in tmp_path.rglob("*evil*")} == {tmp_path / "out" / f"{odd.id:04d}"}

    def test_a_link_out_of_the_folder_is_refused(self, run: Callable[..., Report], tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "out" / "0001").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(ConfigError, match="leads out of the export"):
            run()
        assert list((tmp_path / "elsewhere").iterdir()) == []

    def test_a_manifest_that_names_other_files_removes_none(self, run: Callable[..., Report], tmp_path: Path) -> None:
        run()
        victim = tmp_path / "victim"
        victim.write_text("mine")
        manifest = tmp_path / "out" / "0001" / f"{MARKETS[0]}.jsonl.json"
        found = json.loads(manifest.read_text())
        found["files"] = [{"name": "../victim", "bytes": 4, "sha256": "0"}]
        manifest.write_text(json.dumps(found))
        run()
        assert victim.read_text() == "mine"

    @pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
    def test_a_folder_that_cannot_be_written_is_a_sentence(self, run: Callable[..., Report], tmp_path: Path) -> None:
        (tmp_path / "out").mkdir(mode=0o500)
        with pytest.raises(ConfigError, match="cannot write to"):
            run()

    def test_a_file_in_the_way_is_a_sentence(self, run: Callable[..., Report], tmp_path: Path) -> None:
        (tmp_path / "out").write_text("a file")
        with pytest.raises(ConfigError, match="cannot write to"):
            run()


class TestPick:
    """Which sessions, markets and times."""

    def test_a_later_start_begins_with_the_book(self, conn: Connection, stored: Stored) -> None:
        [session] = sessions.read_sessions(conn, [stored.id])
        start_ns = BEFORE_MIDNIGHT + 25_000_000
        sources: tuple[Source, ...] = ("tables", "journal")
        for source in sources:
            everything = list(read_moments(conn, session, source=source))
            picked = list(read_moments(conn, session, Pick(start_ns=start_ns), source=source))
            carried = [moment for moment in picked if moment.carried]
            assert [moment.event.market for moment in carried] == list(MARKETS)
            assert picked[: len(carried)] == carried
            assert picked[len(carried) :] == [m for m in everything if m.recv_ns >= start_ns]
            digest = BookDigest()
            for moment in picked:
                if not isinstance(moment.event, GapMark):
                    digest.add(moment.connection, moment.event)
            assert digest.wrong_sizes == 0

    def test_times_end_before_their_end(self, conn: Connection, stored: Stored) -> None:
        [session] = sessions.read_sessions(conn, [stored.id])
        end_ns = BEFORE_MIDNIGHT + 25_000_000
        picked = list(read_moments(conn, session, Pick(end_ns=end_ns)))
        assert 20 < len(picked) < 150
        assert all(moment.recv_ns < end_ns for moment in picked)

    @pytest.mark.usefixtures("stored")
    def test_one_market(self, run: Callable[..., Report]) -> None:
        report = run(pick=Pick(markets=frozenset([MARKETS[1]])))
        assert [one.market for one in report.written] == [MARKETS[1]]

    @pytest.mark.usefixtures("stored")
    def test_an_unknown_market_is_refused(self, run: Callable[..., Report]) -> None:
        with pytest.raises(UsageError, match="none of these sessions recorded KXT-NOT"):
            run(pick=Pick(markets=frozenset(["KXT-NOT"])))

    def test_a_sampled_session_is_read_from_its_journal(
        self, store: Store, run: Callable[..., Report], tmp_path: Path
    ) -> None:
        store(eventful(), sample_rate=4)
        with pytest.raises(DataError, match="the tables keep 1 of 4 deltas"):
            run()
        assert list((tmp_path / "out" / "0001").iterdir()) == []
        assert run(source="journal").events > 200

    @pytest.mark.parametrize(
        ("text", "numbers"), [("3", (3,)), ("1-4", (1, 2, 3, 4)), ("7-9,1, 4", (1, 4, 7, 8, 9)), ("2,2", (2,))]
    )
    def test_sessions_are_named_as_people_do(self, text: str, numbers: tuple[int, ...]) -> None:
        assert parse_sessions(text) == numbers

    @pytest.mark.parametrize("text", ["", "0", "4-1", "x", "1-", "1--2", "-1", "1-999999999", "\uff11"])
    def test_what_names_no_sessions_is_refused(self, text: str) -> None:
        with pytest.raises(UsageError, match="does not name sessions"):
            parse_sessions(text)

    @pytest.mark.parametrize(
        ("text", "ns"),
        [
            ("2026-01-01", T0_NS),
            ("2026-01-01T00:00:00Z", T0_NS),
            ("2026-01-01T01:00:00.5+01:00", T0_NS + 500_000_000),
            ("2026-01-01 00:00", T0_NS),
        ],
    )
    def test_times_are_utc(self, text: str, ns: int) -> None:
        assert parse_time(text) == ns

    def test_what_is_no_time_is_refused(self) -> None:
        with pytest.raises(UsageError, match="is not a time"):
            parse_time("yesterday")
