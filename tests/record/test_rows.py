"""Each frame of a journal is exactly one row of exactly one table."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from kflow.kalshi.protocol import FeedProtocol
from kflow.record.rows import RowPacker
from kflow.session.chunks import Chunk
from kflow.store.sessions import DAY_NS
from kflow.testing.frames import MARKET, OTHER, Frames

IDS = {MARKET: 1, OTHER: 2}


def make(kind: str, frames: Frames) -> bytes:
    if kind == "delta":
        return frames.delta(4000, 100, market=OTHER)
    if kind == "snapshot":
        return frames.snapshot(MARKET, [(100, 1), (200, 2)], [(9000, 5)])
    if kind == "trade":
        return frames.trade()
    if kind == "ticker":
        return frames.ticker()
    if kind == "control":
        return frames.sequenced("market_weather", {})
    return b"\xffnoise"


KINDS = ["delta", "delta", "snapshot", "trade", "ticker", "control", "noise"]


@settings(max_examples=80, deadline=None)
@given(st.lists(st.lists(st.sampled_from(KINDS), min_size=1, max_size=6), max_size=12), st.integers(1, 4))
def test_every_frame_is_one_row(script: list[list[str]], sample_rate: int) -> None:
    frames, protocol = Frames(), FeedProtocol(passive=True)
    chunks = []
    for n, kinds in enumerate(script):
        events = protocol.receive_all([make(kind, frames) for kind in kinds])
        gaps, protocol.gaps = protocol.gaps, []
        chunks.append(Chunk(1, n * DAY_NS // 3, n, n, n + 1, events, gaps))
    batch = RowPacker(7, sample_rate, IDS).pack(chunks)
    counted = batch.count()
    total = sum(len(kinds) for kinds in script)
    assert sum(counted[t] for t in counted if t != "rl_gaps") + batch.sampled_out == total
    assert counted["rl_gaps"] == sum(len(chunk.gaps) for chunk in chunks)
    assert batch.days == {chunk.wall_ns // DAY_NS for chunk in chunks}
    if sample_rate == 1:
        assert batch.sampled_out == 0


def test_nothing_makes_no_rows(tmp_path: Path) -> None:
    batch = RowPacker(1, 1, {}).pack([])
    assert (batch.packed, batch.days, batch.endings) == ([], set(), [])
