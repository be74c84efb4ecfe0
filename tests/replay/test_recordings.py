"""Recordings in files are told by what they hold, and the same session gives the same tape whatever it is read from."""

from __future__ import annotations

import gzip
import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kflow.errors import ConfigError, DataError, KflowError, UsageError
from kflow.market.grid import Grid
from kflow.replay.export import Request, export
from kflow.replay.formats import FORMATS
from kflow.replay.load import Source
from kflow.replay.recordings import Recording, fingerprint, read_recording
from kflow.replay.stretches import build_tape
from kflow.replay.tapes import Shelf, fees_of, known_by
from kflow.session.chunks import MarketFacts
from kflow.sim import cache
from kflow.sim.tape import ADD, CANCEL, TRADE, Tape
from kflow.store.postgres import Connection
from kflow.testing.tapes import frozen

from .conftest import CENTS, MARKETS, T0_NS, Flow, Script, Stored, write_journal

Store = Callable[..., Stored]
WHOLE = [name for name, form in FORMATS.items() if form.whole]


def one_by_one(_: int) -> int:
    return 1


def eventful(seed: int = 21, chunk: Callable[[int], int] = one_by_one) -> Script:
    """Two connections over midnight: a lost frame and its resync, an empty book, checks, trades."""
    flow = Flow(seed, start_ns=T0_NS - 60_000_000)
    frames = flow.take(300)
    flow.delta()  # lost on its way
    frames += [flow.delta() for _ in range(6)]
    frames += [flow.snapshot(market) for market in MARKETS]
    frames += [flow.delta() for _ in range(60)]
    frames.append(flow.emptied(MARKETS[0]))
    frames += [flow.delta(MARKETS[1]) for _ in range(30)]
    again = Flow(seed + 1, start_ns=T0_NS + 3_000_000_000)
    return Script([frames, again.take(150)], start_ns=T0_NS - 60_000_000, chunk=chunk)


def written(script: Script, path: Path) -> Path:
    """The frames of a script as a recorder of others keeps them."""
    lines, now = [], script.start_ns
    for number, frames in enumerate(script.connections, 1):
        for frame in frames:
            now += 1_000_003
            lines.append(f'{{"recv_ns":{now},"conn":{number},"frame":{frame.decode()}}}\n')
    text = "".join(lines).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def digests(tapes: list[Tape]) -> dict[str, str]:
    return {tape.market: cache.digest(tape) for tape in tapes}


def compiled(path: Path) -> dict[str, str]:
    recording = read_recording(path)
    return {
        name: cache.digest(build_tape(name, raw, recording.trades, recording.grids.get(name), {}))
        for name, raw in recording.stretches.items()
    }


def kinds(tape: Tape) -> list[tuple[int, int, int, int]]:
    """(kind, side, YES price, size) of each event."""
    code, price = tape.arrays.code, tape.arrays.price[tape.arrays.col]
    columns = (code & 3, code >> 2 & 1, price, tape.arrays.size)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def of(recording: Recording, market: str) -> Tape:
    return build_tape(market, recording.stretches[market], recording.trades, recording.grids.get(market), {})


# The same session from everywhere.


@pytest.fixture
def exported(conn: Connection, store: Store, tmp_path: Path) -> Callable[..., Path]:
    """Exports the session of a script; gives the folder."""
    store(eventful())

    def go(name: str, **options: Any) -> Path:
        out = tmp_path / f"{name}{len(options)}"
        export(conn, replace(Request(out=out, format=FORMATS[name], sessions=[1]), **options))
        return out

    return go


@pytest.fixture
def truth(conn: Connection, exported: Callable[..., Path], tmp_path: Path) -> dict[str, str]:
    """Digests of the session's tapes, as its tables give them."""
    found = digests(Shelf(tmp_path / "tapes").of_sessions(conn, [1], None, "tables"))
    assert sorted(found) == sorted(MARKETS)
    return found


def test_a_session_has_several_stretches_and_trades(conn: Connection, truth: dict[str, str], tmp_path: Path) -> None:
    """Or all that follows would compare little."""
    first, second = Shelf(tmp_path / "tapes").of_sessions(conn, [1], None, "tables")
    assert first.facts["ends"] == ["gap: sequence", "the market closed", "the recording ended"]
    assert second.facts["ends"] == ["gap: sequence", "gap: disconnect", "the recording ended"]
    assert first.facts["trades"] == second.facts["trades"] == "channel"
    assert min(tape.facts["trades_printed"] for tape in (first, second)) > 0
    assert (first.facts["session"], first.facts["source"]) == (1, "session 1")


def both(conn: Connection, session: int, folder: Path) -> list[dict[str, str]]:
    """Digests from its tables and from its journal."""
    sources: tuple[Source, ...] = ("tables", "journal")
    return [digests(Shelf(folder / source).of_sessions(conn, [session], None, source)) for source in sources]


@pytest.mark.parametrize("seed", range(21, 25))
def test_tables_and_journal_give_the_same_tape(conn: Connection, store: Store, tmp_path: Path, seed: int) -> None:
    session = store(eventful(seed))
    tables, journal = both(conn, session.id, tmp_path)
    assert tables == journal
    assert digests(Shelf(tmp_path / "file").of_file(session.directory)) == tables


def test_tables_and_journal_give_the_same_tape_of_frames_that_came_at_once(
    conn: Connection, store: Store, tmp_path: Path
) -> None:
    tables, journal = both(conn, store(eventful(chunk=lambda turn: 1 + turn % 7)).id, tmp_path)
    assert tables == journal


@pytest.mark.parametrize("name", WHOLE)
def test_an_export_gives_the_same_tape(exported: Callable[..., Path], truth: dict[str, str], name: str) -> None:
    assert compiled(exported(name)) == truth
    for market in MARKETS:
        [file] = exported(name).rglob(f"{market}.{name}")
        assert compiled(file) == {market: truth[market]}


def test_an_export_in_folders_of_days_gives_the_same_tape(exported: Callable[..., Path], truth: dict[str, str]) -> None:
    assert compiled(exported("parquet", partitioned=True)) == truth


def test_frames_as_received_give_the_same_tape(truth: dict[str, str], tmp_path: Path) -> None:
    for name in ("frames.jsonl", "frames.jsonl.gz", "frames.txt"):
        assert compiled(written(eventful(), tmp_path / name)) == truth


def test_a_market_without_trades_leaves_those_of_others_as_they_are(
    conn: Connection, store: Store, tmp_path: Path
) -> None:
    """Of two markets one trades, and the other has tickers only: in the session, and in its export."""
    flow = Flow(5, markets=("KXT-A", "KXT-B"))
    frames = [*flow.opening(), *(flow.delta() for _ in range(40))]
    trade = json.loads(flow.trade())
    trade["msg"]["market_ticker"] = "KXT-A"
    ticker = json.loads(flow.ticker())
    ticker["msg"] |= {"market_ticker": "KXT-B", "volume_fp": "10.00"}
    frames += [json.dumps(frame).encode() for frame in (trade, ticker)]
    frames += [flow.delta() for _ in range(40)]
    facts = [MarketFacts(ticker=market, price_ranges=CENTS) for market in ("KXT-A", "KXT-B")]
    store(Script([frames], facts=facts))
    tables = digests(Shelf(tmp_path / "tapes").of_sessions(conn, [1], None, "tables"))
    export(conn, Request(out=tmp_path / "out", format=FORMATS["jsonl"], sessions=[1]))
    assert compiled(tmp_path / "out") == tables


# Told by their content.


def test_a_journal_tells_grids_and_fees(tmp_path: Path) -> None:
    ranges = [{"start": "0.0000", "end": "1.0000", "step": "0.0010"}]
    facts = [
        MarketFacts(ticker=MARKETS[0], price_ranges=ranges, fee_type="quadratic", fee_multiplier="0.5"),
        MarketFacts(ticker=MARKETS[1], price_ranges=[]),
    ]
    write_journal(tmp_path / "journal", Script([Flow().take(80)], facts=facts)).close()
    found = read_recording(tmp_path / "journal")
    assert found.grids == {MARKETS[0]: Grid.parse(ranges)}
    assert (found.facts[MARKETS[0]]["fee_type"], found.facts[MARKETS[0]]["fee_multiplier"]) == ("quadratic", "0.5")
    first, second = Shelf(tmp_path / "tapes").of_file(tmp_path / "journal")
    assert (first.columns, second.columns) == (999, 99)
    assert fees_of(first)[1] == "quadratic x 0.5: recorded"
    assert fees_of(second)[1] == "quadratic x 1: assumed, the recording does not say"


def test_a_sid_that_is_subscribed_anew_is_a_new_connection(tmp_path: Path) -> None:
    script = eventful()
    found = read_recording(written(script, tmp_path / "frames.jsonl"))
    assert [raw.ends for raw in found.stretches[MARKETS[1]]] == [
        "gap: sequence",
        "gap: disconnect",
        "the recording ended",
    ]
    # The same frames without the acks of the second connection: its first frames are out of order.
    quiet = replace(script, connections=[script.connections[0] + script.connections[1][3:]])
    without = read_recording(written(quiet, tmp_path / "quiet.jsonl"))
    assert "gap: disconnect" not in {raw.ends for raws in without.stretches.values() for raw in raws}


def segments_folder(folder: Path, *, tickers: bool = True, drop: str = "") -> Path:
    """Two segments of one market; the first ends with its close. Of its 3 removals a ticker explains the second."""
    folder.mkdir()
    names = ("segment", "exch_ts_us", "recv_ns", "side", "price_milli", "delta_centi", "kind")
    rows = [
        (0, 1_000, 6_000_000, 0, 400, 50, 0),
        (0, 2_000, 7_000_000, 0, 400, -100, 2),
        (0, 3_000, 9_000_000, 0, 400, -70, 1),
        (0, 4_000, 9_000_000, 1, 550, -7, 1),
        (0, 9_000, 15_000_000, 0, 400, 999, 0),  # behind the close
        (1, 8_000_000, 8_005_000_000, 1, 500, 30, 0),
    ]
    table = pa.table({name: [row[at] for row in rows] for at, name in enumerate(names) if name != drop})
    pq.write_table(table, folder / "deltas.parquet")
    first = [[0, 1, 5_000_000, [[4000, 500]], [[5500, 800]], "x"], [4, 9, 15_000_000, [], [], "x"]]
    second = [[0, 1, 8_000_000_000, [], [[5000, 60]], "x"]]
    segments = [
        {"segment": n, "market": "BTC", "snapshots": shots, "more": 1} for n, shots in enumerate((first, second))
    ]
    (folder / "segments.json.gz").write_bytes(gzip.compress(json.dumps(segments).encode()))
    if tickers:
        told = {"segment": [0, 0], "exch_ts_us": [500, 3_500], "volume_centi": [1_000, 1_140]}
        pq.write_table(
            pa.table({**told, "price_e4": [4000, 4000], "last_size_centi": [1, 70]}), folder / "tickers.parquet"
        )
    return folder


def test_segments_are_stretches_whose_trades_the_tickers_tell(tmp_path: Path) -> None:
    found = read_recording(segments_folder(tmp_path / "segments"))
    assert (found.source, found.trades, list(found.stretches)) == ("segments", "inferred", ["BTC"])
    tape = of(found, "BTC")
    assert (tape.stretches, tape.facts["ends"]) == (2, ["the market closed", "the recording ended"])
    assert kinds(tape) == [
        (ADD, 0, 4_000, 50), (CANCEL, 0, 4_000, 100), (TRADE, 0, 4_000, 70), (CANCEL, 1, 4_500, 7), (ADD, 1, 5_000, 30)
    ]  # fmt: skip
    assert tape.arrays.us.tolist() == [1_000, 2_000, 3_000, 4_000, 8_000_000]


def test_segments_without_tickers_have_the_labels_of_whoever_made_them(tmp_path: Path) -> None:
    found = read_recording(segments_folder(tmp_path / "segments", tickers=False))
    assert found.trades == "labelled"
    assert [kind for kind, *_ in kinds(of(found, "BTC"))] == [ADD, TRADE, CANCEL, CANCEL, ADD]


ORDERS = """Time,Operation,OrderId,Side,Volume,Price
2023-04-10 13:30:00.000000Z,Insert,1,B,5,4000
2023-04-10 13:30:00.000000Z,Insert,2,A,8,4500
2023-04-10 13:30:00.000000Z,Insert,3,B,2,4000
2023-04-10 13:30:02.000000Z,Insert,5,B,3,4500
2023-04-10 13:30:01.000000Z,Insert,4,B,4,4100
2023-04-10 13:30:03.000000Z,,,,,
2023-04-10 13:30:03.000000Z,Insert,6,A,1,4100
2023-04-10 13:30:04.000000Z,Cancel,7,A,5,4500
2023-04-10 13:30:05.000000Z,Insert,8,A,6,9900
"""


def test_orders_as_they_were_entered_are_changes_of_levels_and_those_that_cross_are_trades(tmp_path: Path) -> None:
    found = read_recording(write(tmp_path / "apr-10.csv.gz", gzip.compress(ORDERS.encode())))
    assert (found.trades, list(found.stretches)) == ("labelled", ["apr-10"])
    [raw] = found.stretches["apr-10"]
    assert raw.start == (((4_000, 700),), ((5_500, 800),))
    assert kinds(of(found, "apr-10")) == [
        (ADD, 0, 4_100, 400),
        (TRADE, 1, 4_500, 300),  # a bid at the ask took it
        (TRADE, 0, 4_100, 100),
        (CANCEL, 1, 4_500, 500),
        (ADD, 1, 9_900, 600),
    ]


def test_orders_that_reach_beyond_the_touch_took_from_the_level_of_their_price(tmp_path: Path) -> None:
    """3 are left at 41, the best; an offer at 40 took what bids at 40."""
    content = ORDERS.encode() + b"2023-04-10 13:32:00.000000Z,Insert,10,A,6,4000\n"
    found = read_recording(write(tmp_path / "orders.csv.gz", gzip.compress(content)))
    assert kinds(of(found, "orders"))[-1] == (TRADE, 0, 4_000, 600)


def test_orders_need_not_be_compressed(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        found = read_recording(write(tmp_path / "apr-10.csv", ORDERS.encode()))
    assert len(kinds(of(found, "apr-10"))) == 5
    assert [str(warning.message) for warning in heard] == []


# What is none.


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


HEADER = b"Time,Operation,OrderId,Side,Volume,Price\n"


def entered(*rows: str, header: bytes = HEADER) -> bytes:
    """Orders of one moment."""
    return gzip.compress(header + b"".join(f"2023-04-10 13:30:00Z,{row}\n".encode() for row in rows))


NONE: list[tuple[str, bytes, type[KflowError], str]] = [
    ("notes.txt", b"hello", UsageError, "is no recording that kflow reads"),
    ("book.bin", b"\x00\xff" * 40, UsageError, "is no recording that kflow reads"),
    ("empty", b"", UsageError, "is no recording that kflow reads"),
    ("export.jsonl.gz", gzip.compress(b'{"kind":"delta"}'), UsageError, "is no recording that kflow reads"),
    ("torn.jsonl.gz", b"\x1f\x8b\x08", ConfigError, "cannot read"),
    ("damaged.jsonl.gz", gzip.compress(b"{}")[:10] + b"\xff" * 20, ConfigError, "cannot read"),
    ("damaged.csv.gz", gzip.compress(b"{}")[:10] + b"\xff" * 20, ConfigError, "cannot read"),
    ("plain.jsonl.gz", b"not gzip", ConfigError, "cannot read"),
    ("a.jsonl", b'{"recv_ns":1,"frame":{"type":"x"}}\n{"recv_ns":', DataError, "a.jsonl, line 2: "),
    ("a.jsonl", b'{"recv_ns":"1","frame":{}}', DataError, "a.jsonl, line 1: "),
    ("a.jsonl", b'{"recv_ns":1,"frame":{"type":"subscribed","msg":{}}}', DataError, "a.jsonl, line 1: "),
    ("e.jsonl", b'{"kind":"wonder"}', DataError, "a row of kind 'wonder' is no event"),
    ("e.jsonl", b'{"kind":"delta"}', DataError, "a row is no event"),
    ("e.jsonl", b"[1, 2]\n", DataError, "e.jsonl, line 1: "),
    ("e.jsonl", b"12\n", DataError, "e.jsonl, line 1: "),
    ("e.jsonl", b"<html>", DataError, "e.jsonl, line 1: "),
    ("e.csv", b"a,b\n1,2\n", DataError, "has other columns than this kflow writes"),
    ("e.csv", b"\xff\xfe\x00", DataError, "is no export of kflow"),
    ("e.parquet", b"PAR1", DataError, "is no export of kflow"),
    ("o.csv.gz", entered(), DataError, "holds no orders"),
    ("o.csv.gz", entered("Insert,1,C,5,4000"), DataError, "o.csv.gz, line 2: "),
    ("o.csv.gz", entered("Insert,1,B,5,10000"), DataError, "Insert at 10000 is no order"),
    ("o.csv.gz", entered("Amend,1,B,5,4000"), DataError, "Amend at 4000 is no order"),
    ("o.csv.gz", entered("Insert,1,B,x,4000"), DataError, "o.csv.gz, line 2: "),
    ("o.csv.gz", entered("Insert,one,B,5,4000"), DataError, "o.csv.gz, line 2: "),
    ("o.csv.gz", entered("Insert", header=b"Time,Operation\n"), DataError, "o.csv.gz, line 2: "),
    ("o.csv.gz", entered("Insert,1,B,5,4000")[:-9], ConfigError, "cannot read"),
]


@pytest.mark.parametrize(
    ("name", "content", "kind", "words"), NONE, ids=[f"{n}-{case[0]}" for n, case in enumerate(NONE)]
)
def test_a_file_that_is_none_is_told_of_in_a_sentence(
    tmp_path: Path, name: str, content: bytes, kind: type[KflowError], words: str
) -> None:
    with pytest.raises(KflowError) as refused:
        read_recording(write(tmp_path / name, content))
    assert type(refused.value) is kind
    assert words in str(refused.value)


def test_orders_that_take_more_than_there_is_are_told_of(tmp_path: Path) -> None:
    for row in ("Cancel,9,A,7,9900", "Insert,9,A,9,4100", "Insert,9,A,1,3900", "Cancel,9,B,1,1000"):
        content = gzip.compress(ORDERS.encode() + f"2023-04-10 14:00:00Z,{row}\n".encode())
        with pytest.raises(DataError, match=r"contracts leave a level of \d at 0\.\d\d"):
            read_recording(write(tmp_path / "o.csv.gz", content))


def test_what_is_no_recording_is_misuse_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no recording .*absent") as absent:
        read_recording(tmp_path / "absent")
    assert absent.value.hint == "check --from"
    with pytest.raises(UsageError, match="is no recording that kflow reads") as unknown:
        read_recording(tmp_path)
    assert "a journal, an export, frames or segments" in (unknown.value.hint or "")


def test_a_folder_of_several_formats_is_ambiguous(exported: Callable[..., Path]) -> None:
    folder = exported("jsonl")
    (folder / "more.csv").write_text("")
    with pytest.raises(UsageError, match="holds exports in several formats"):
        read_recording(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / "segments.json.gz").write_bytes(b"{}"), "does not hold segments"),
        (lambda folder: (folder / "segments.json.gz").write_bytes(gzip.compress(b"[1]")), "does not hold segments"),
        (lambda folder: (folder / "deltas.parquet").unlink(), "cannot read"),
        (lambda folder: (folder / "deltas.parquet").write_bytes(b"PAR1"), "cannot read"),
        (lambda folder: (folder / "tickers.parquet").write_bytes(b""), "cannot read"),
    ],
)
def test_segments_that_are_damaged_are_told_of(tmp_path: Path, change: Callable[[Path], object], words: str) -> None:
    change(segments_folder(tmp_path / "segments"))
    with pytest.raises(DataError, match=words):
        read_recording(tmp_path / "segments")


def test_segments_without_a_column_name_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="delta_centi"):
        read_recording(segments_folder(tmp_path / "segments", drop="delta_centi"))


# Kept on the shelf.


def test_a_fingerprint_is_of_content_and_names_within(tmp_path: Path) -> None:
    one, other = segments_folder(tmp_path / "one"), segments_folder(tmp_path / "other")
    assert fingerprint(one) == fingerprint(other)
    (other / "tickers.parquet").rename(other / "later.parquet")
    assert fingerprint(one) != fingerprint(other)
    file = write(tmp_path / "a", b"1")
    assert fingerprint(file) == fingerprint(write(tmp_path / "b", b"1")) != fingerprint(write(tmp_path / "c", b"2"))


def test_a_tape_is_compiled_once(tmp_path: Path) -> None:
    folder, root = segments_folder(tmp_path / "segments"), tmp_path / "tapes"
    for made, rebuild in [(1, False), (0, False), (1, True)]:
        shelf = Shelf(root, rebuild)
        [tape] = shelf.of_file(folder)
        assert (shelf.made, tape.market, tape.facts["source"]) == (made, "BTC", "segments")
    (tmp_path / "more").write_text("not in the folder")
    write(folder / "more", b"in the folder: another recording")
    shelf = Shelf(root)
    shelf.of_file(folder)
    assert shelf.made == 1


def test_a_market_that_contradicts_itself_is_left_out_and_told_of(tmp_path: Path) -> None:
    (tmp_path / "frames.jsonl").write_bytes(b"")
    path = written(Script([Flow(3, markets=("KXT-A", "KXT-B")).take(60)]), tmp_path / "frames.jsonl")
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if "_delta" not in line or "KXT-B" not in line or "subs" in line))
    shelf = Shelf(tmp_path / "tapes")
    assert [tape.market for tape in shelf.of_file(path)] == ["KXT-A"]
    assert list(shelf.empty) == ["KXT-B"]
    assert "no event of its book is recorded" in shelf.empty["KXT-B"]
    with pytest.raises(UsageError, match="this recording has no market KXT-C"):
        shelf.of_file(path, ["KXT-C"])
    with pytest.raises(DataError, match="holds no book that can be followed"):
        shelf.of_file(path, ["KXT-B"])


def test_a_kept_tape_that_cannot_be_read_is_compiled_anew(tmp_path: Path) -> None:
    folder, root = segments_folder(tmp_path / "segments"), tmp_path / "tapes"
    Shelf(root).of_file(folder)
    [kept] = [path.parent for path in root.rglob("us.npy")]
    (kept / "us.npy").write_bytes((kept / "us.npy").read_bytes()[:-3])
    assert [tape.market for tape in Shelf(root).of_file(folder)] == ["BTC"]


def test_a_parquet_of_others_is_told_of(tmp_path: Path) -> None:
    pq.write_table(pa.table({"price": [1]}), tmp_path / "other.parquet")
    with pytest.raises(DataError, match=r"other\.parquet is no export of kflow: it has no kflow$"):
        read_recording(tmp_path / "other.parquet")


def test_a_folder_of_recordings_is_each_of_them(tmp_path: Path) -> None:
    (tmp_path / "days").mkdir()
    for day in ("apr-13", "apr-10"):
        write(tmp_path / "days" / f"{day}.csv.gz", gzip.compress(ORDERS.replace("04-10", f"04-{day[-2:]}").encode()))
    write(tmp_path / "days" / "README.md", b"what this is")
    tapes = Shelf(tmp_path / "tapes").of_files([tmp_path / "days", tmp_path / "days" / "apr-13.csv.gz"])
    assert [tape.market for tape in tapes] == ["apr-10", "apr-13"]
    assert known_by(tapes) == ["labelled"]


def test_a_folder_that_is_one_recording_is_not_its_files(tmp_path: Path) -> None:
    folder = segments_folder(tmp_path / "segments")
    written(eventful(), folder / "frames.jsonl")
    assert [tape.market for tape in Shelf(tmp_path / "tapes").of_files([folder])] == ["BTC"]


def test_how_trades_are_known_is_told_of_all_markets_together() -> None:
    def known(trades: str, intervals: int = 0, exact: int = 0, printed: int = 0) -> Tape:
        facts = {"trades": trades, "trades_intervals": intervals, "trades_exact": exact, "trades_printed": printed}
        return replace(frozen([(4_000, 100)], [(5_500, 100)], 1), facts=facts)

    assert known_by([known("inferred", 4, 4), known("channel"), known("inferred", 12, 10), known("inferred")]) == [
        "channel",
        "inferred, 87.50% of ticker intervals exact",
    ]
    assert known_by([known("channel", printed=123_450), known("none")]) == [
        "channel, 1,234 contracts without a removal",
        "none",
    ]
    assert known_by([known("inferred")]) == ["inferred"]


def test_a_market_that_was_not_recorded_is_misuse(conn: Connection, exported: object, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "tapes")
    assert [tape.market for tape in shelf.of_sessions(conn, [1], [MARKETS[1]], "tables")] == [MARKETS[1]]
    with pytest.raises(UsageError, match="this recording has no market NONE"):
        shelf.of_sessions(conn, [1], ["NONE"], "tables")
