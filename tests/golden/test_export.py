"""The bytes of each export format, from a small made-up session. `KFLOW_WRITE_GOLDEN=1 pytest tests/golden` renews
the files; read their diff before you believe it."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from kflow.market.events import BookDelta, BookSnapshot, SnapshotReason, Ticker, Trade
from kflow.market.times import format_rfc3339_us
from kflow.replay.formats import FORMATS, Target, parquet
from kflow.replay.formats.levels import LevelFollower
from kflow.replay.load import GapMark, Moment
from kflow.units import Price, Size

HERE = Path(__file__).parent / "export"
MARKET = "KXT-26JAN01-A"
# 2025-12-31T23:59:59.9Z: the session crosses midnight.
START_US = 1_767_225_599_900_000


def level(price: int, size: int) -> tuple[Price, Size]:
    return Price(price), Size(size)


def delta(seq: int, side: int, price: int, change: int, size: int | None, us: int) -> Moment:
    stamp = format_rfc3339_us(START_US + us)
    after = None if size is None else Size(size)
    event = BookDelta(MARKET, 1, seq, side, Price(price), Size(change), after, stamp, (START_US + us) // 1000)
    return Moment(1, (START_US + us + 1_500) * 1000 + 7, START_US + us, event)


def snapshot(seq: int, reason: SnapshotReason, us: int, *, empty: bool = False) -> Moment:
    yes = () if empty else (level(4300, 5_000), level(4400, 1_250))
    no = () if empty else (level(5400, 10_000),)
    event = BookSnapshot(MARKET, None, 1, seq, yes, no, reason, (START_US + us) // 1000)
    return Moment(1, (START_US + us + 1_500) * 1000, (START_US + us) // 1000 * 1000, event)


def moments() -> list[Moment]:
    trade = Trade(MARKET, 2, 1, "00000000-0000-4000-8000-000000000001", Price(4400), Size(250), 0, False, None)
    ticker = Ticker(
        MARKET, 3, None, Price(4400), Price(4400), Price(4600), Size(1_000), Size(10_000), Size(90_000), None, None
    )
    gap = GapMark("sequence", None, 1, 7, 9, (START_US + 240_000) * 1000, "2 frames are missing, and said so")
    received = (START_US + 60_000) * 1000
    return [
        snapshot(1, SnapshotReason.SUBSCRIBE, 0),
        delta(2, 0, 4400, -250, 1_000, 40_123),
        Moment(1, received, None, trade),
        delta(3, 1, 5500, 77, 77, 99_999),
        Moment(1, received + 5_000, None, ticker),
        delta(4, 1, 5500, -77, 0, 100_000),
        delta(5, 0, 4450, 12, 12, 100_000),
        delta(6, 0, 4450, -2, 10, 150_000),
        Moment(1, (START_US + 200_000) * 1000, None, gap),
        delta(9, 0, 4450, 5, None, 201_000),
        snapshot(10, SnapshotReason.RESYNC, 240_000),
        snapshot(11, SnapshotReason.VENUE, 300_000, empty=True),
    ]


def shown(path: Path) -> str:
    """A file as text that a person can compare."""
    if path.suffix == ".gz":
        return gzip.decompress(path.read_bytes()).decode()
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        kept = [{name: value for name, value in row.items() if value is not None} for row in table.to_pylist()]
        metadata = parquet.metadata(path)
        schema = [f"{field.name} {field.type}" for field in table.schema]
        return json.dumps({"schema": schema, "metadata": metadata, "rows": kept}, indent=1) + "\n"
    if path.suffix == ".npz":
        with np.load(path) as archive:
            events = archive["data"]
        lines = [f"{row[0]:#010x} {' '.join(map(str, row[1:]))}" for row in events.tolist()]
        return "\n".join([" ".join(events.dtype.names), *lines]) + "\n"
    return path.read_text()


@pytest.mark.parametrize("name", FORMATS)
def test_the_files_are_what_they_were(name: str, tmp_path: Path) -> None:
    target = Target(directory=tmp_path, stem=MARKET, market=MARKET, session=1, began_us=START_US, levels=2)
    writer = FORMATS[name].writer(target)
    follower = LevelFollower()
    for moment in moments():
        writer.write(moment)
        follower.changes(moment)
    writer.close({"digest": "d"})
    paths = sorted(path for path in tmp_path.iterdir())
    assert FORMATS[name].read_levels(paths).hexdigest() == follower.digest.hexdigest()
    found = {path.name: shown(path) for path in paths}
    folder = HERE / name
    if os.environ.get("KFLOW_WRITE_GOLDEN"):
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in found.items():
            (folder / f"{file}.txt").write_text(text)
    assert found == {path.name.removesuffix(".txt"): path.read_text() for path in folder.iterdir()}
