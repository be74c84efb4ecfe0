"""The live view of a market gives the bits of the columns that training reads."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from kflow.market.grid import Grid
from kflow.policy import features
from kflow.policy.view import MarketView
from kflow.rl.columns import market_columns
from kflow.rl.worlds import make_tapes
from kflow.sim.kernel import ADD, PRINT, TRADE
from kflow.sim.tape import Tape
from kflow.testing.tapes import COARSE, Shape, first_book, moments, random_tape

RATE = 0.07


def seen(tape: Tape, stretch: int, every_us: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """As a live market would be followed, one row a decision."""
    start_us, last_us = tape.span_us(stretch)
    close_us = tape.facts.get("close_us", -1)
    view = MarketView(tape.arrays.price.tolist(), close_us=close_us, taker_rate=RATE)
    view.begin(start_us, *first_book(tape, stretch))
    rows, out = [], [0.0] * len(features.MARKET)
    now_us = start_us
    for us, changes in moments(tape, stretch):
        while now_us < us:
            view.encode(now_us, out)
            rows.append(list(out))
            now_us += every_us
        for kind, side, column, size in changes:
            if kind >= TRADE:
                view.trade(side, column, size, removes=kind != PRINT)
            else:
                view.change(side, column, size if kind == ADD else -size)
        view.end_group(us)
    assert now_us >= last_us
    if now_us == last_us:
        view.encode(now_us, out)
        rows.append(list(out))
    return np.array(rows, np.float32)


@pytest.mark.parametrize("every_us", [40_000, 250_000])
@pytest.mark.parametrize("grid", [COARSE, Grid.named("tapered_deci_cent")], ids=["coarse", "tapered"])
def test_random_books_look_the_same_bit_for_bit(grid: Grid, every_us: int) -> None:
    rows = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        tape = random_tape(rng, grid=grid, shape=Shape(moments=80, crossing=0.1 * (seed % 2)), stretches=2)
        tape.facts["close_us"] = tape.span_us(tape.stretches - 1)[1]
        for stretch in range(tape.stretches):
            expected = market_columns(tape, stretch, every_us, RATE)
            assert seen(tape, stretch, every_us).tobytes() == expected.tobytes()
            rows += len(expected)
    assert rows > 2_000


@pytest.mark.parametrize("world", ["fair", "reverting", "maker", "dollar", "null"])
def test_worlds_look_the_same_bit_for_bit(world: str) -> None:
    [tape] = make_tapes(world, 1, seed=3, seconds=60)
    expected = market_columns(tape, 0, 100_000, RATE)
    assert seen(tape, 0, 100_000).tobytes() == expected.tobytes()


def test_the_touch_is_the_books_after_every_change() -> None:
    tape = random_tape(np.random.default_rng(1), shape=Shape(moments=400))
    view = MarketView(tape.arrays.price.tolist(), close_us=-1, taker_rate=RATE)
    view.begin(0, *first_book(tape, 0))
    emptied = set()
    for _, changes in moments(tape, 0):
        for kind, side, column, size in changes:
            if kind != PRINT:
                view.change(side, column, size if kind == ADD else -size)
            bids, asks = (np.flatnonzero(levels) for levels in view.book)
            assert view.bid == (bids[-1] if len(bids) else -1)
            assert view.ask == (asks[0] if len(asks) else tape.columns)
            emptied |= {side for side, levels in enumerate((bids, asks)) if not len(levels)}
    assert emptied == {0, 1}


def test_to_begin_anew_forgets_what_was() -> None:
    bids, asks = [500, 0, 0], [0, 0, 700]
    fresh, used = (MarketView([2_500, 5_000, 7_500], close_us=-1, taker_rate=RATE) for _ in range(2))
    used.begin(1_000_000, [0, 100, 0], asks)
    used.trade(0, 1, 60, removes=True)
    used.end_group(1_500_000)
    used.trade(1, 2, 60, removes=True)
    for view in (fresh, used):
        view.begin(2_000_000, bids, asks)
    ours, theirs = ([0.0] * len(features.MARKET) for _ in range(2))
    fresh.encode(3_000_000, ours)
    used.encode(3_000_000, theirs)
    assert ours == theirs
    assert asks == [0, 0, 700]


def test_it_loads_neither_numpy_nor_numba() -> None:
    code = "import sys, kflow.policy.view; print(sorted({'numpy', 'numba', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
