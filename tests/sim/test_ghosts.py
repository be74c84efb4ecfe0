"""Orders of others tell where cancellations fall: in worlds where that is known, the fit finds it."""

from __future__ import annotations

import random

import numpy as np
import pytest

from kflow.errors import DataError
from kflow.market.events import Level
from kflow.market.grid import Grid
from kflow.sim.calibrate import fit_queue, fitted_values, sampled, watch
from kflow.sim.ghosts import LOST, SAMPLED, TRADED, WITHDRAWN, Sample, errors, exact, find_ghosts, ghosts_of_samples
from kflow.sim.tape import Stretch, Tape, compile_tape
from kflow.units import Price, Size

BID = Price(5000)
ASK: Level = (Price(4000), Size(100_000))  # a NO bid: the ask that makes the touch two-sided
Row = tuple[int, int, int]  # µs, change of the bid, of it traded; 1e-2 contracts


def tape_of(start: int, rows: list[Row]) -> Tape:
    us, change, traded = np.array(rows, np.int64).T
    stretch = Stretch(
        start=([(BID, Size(start))], [ASK]),
        us=us.copy(),
        side=np.zeros(len(us), np.int8),
        price=np.full(len(us), BID, np.int32),
        change=change.copy(),
        traded=traded.copy(),
        prints=np.zeros((0, 5), np.int64),
        ends="the recording ended",
    )
    return compile_tape("M", [stretch], Grid.named("linear_cent"), {})


def busy_level(seed: int, draws: int, events: int = 40_000) -> Tape:
    """One level, order by order. Of `draws` orders drawn alike the rearmost leaves; of -draws the foremost."""
    rng = random.Random(seed)
    queue: list[int] = []
    rows: list[Row] = []
    us = 1_000_000_000

    def size() -> int:
        return max(1, int(rng.expovariate(1 / 2500)))

    while sum(queue) < 80_000:
        queue.append(size())
    start = sum(queue)
    for _ in range(events):
        us += int(rng.expovariate(1 / 200_000)) + 1
        adds, takes, cancels = 1.0, 0.5, 0.75 * len(queue) / 32
        draw = rng.random() * (adds + takes + cancels)
        if draw < adds or len(queue) < 3:
            queue.append(size())
            rows.append((us, queue[-1], 0))
        elif draw < adds + takes:
            left = size()
            while left and len(queue) > 1:
                taken = min(left, queue[0])
                left -= taken
                queue[0] -= taken
                rows.append((us, -taken, taken))
                queue = queue if queue[0] else queue[1:]
        else:
            places = [rng.randrange(len(queue)) for _ in range(abs(draws))]
            rows.append((us, -queue.pop(max(places) if draws > 0 else min(places)), 0))
    return tape_of(start, rows)


def test_a_ghost_is_traded_withdrawn_or_lost_by_its_size() -> None:
    rows = [(1, 731, 0), (2, 457, 0), (3, 999, 0), (4, -1000, 1000), (5, -457, 0), (6, -731, 731)]
    ghosts = find_ghosts(tape_of(1000, rows))
    assert ghosts.size.tolist() == [731, 457, 999]
    assert ghosts.fate.tolist() == [TRADED, WITHDRAWN, LOST]
    assert ghosts.front.tolist() == [1000, 1731, 2188]
    assert (ghosts.added_us.tolist(), ghosts.ended_us.tolist()) == ([1, 2, 3], [6, 5, 6])


def test_a_ghosts_rows_are_the_removals_of_its_level_while_it_waits() -> None:
    rows = [(1, 731, 0), (2, -300, 0), (3, 50, 0), (4, -700, 700), (5, -731, 731)]
    ghosts = find_ghosts(tape_of(1000, rows))
    first = slice(ghosts.first[0], ghosts.behind[0])
    assert ghosts.removed[first].tolist() == [300, 700]
    assert ghosts.is_trade[first].tolist() == [False, True]
    assert ghosts.level[first].tolist() == [1731, 1481]


def test_a_size_that_two_orders_of_a_level_share_is_no_ghost() -> None:
    assert find_ghosts(tape_of(1000, [(1, 731, 0), (2, 731, 0), (3, -731, 0)])).total == 0


def test_an_error_is_what_a_model_puts_ahead_too_little() -> None:
    """300 of 1000 left from ahead, for 700 were traded; behind is nothing, so every model says so."""
    ghosts = find_ghosts(tape_of(1000, [(1, 731, 0), (2, -300, 0), (3, -700, 700), (4, -731, 731)]))
    assert errors(ghosts, np.flatnonzero(exact(ghosts)), 0.0, 1.0).tolist() == [0.0]
    # Here 500 are behind it, 200 were cancelled, and 1000 traded before it: none of the 200 was ahead.
    rows = [(1, 731, 0), (2, 500, 0), (3, -200, 0), (4, -1000, 1000), (5, -731, 731)]
    ghosts = find_ghosts(tape_of(1000, rows))
    traded = np.flatnonzero(exact(ghosts))
    assert errors(ghosts, traded, 0.0, 1.0).tolist() == [0.0]
    assert errors(ghosts, traded, 1.0, 1.0).tolist() == [pytest.approx(-0.2)]


@pytest.mark.parametrize(
    ("draws", "low", "high"), [(1, 0.35, 0.65), (4, 0.0, 0.15), (-4, 0.85, 1.0)], ids=["uniform", "back", "front"]
)
def test_the_fit_finds_where_cancellations_fall(draws: int, low: float, high: float) -> None:
    found = fit_queue(watch([busy_level(1, draws)]))
    assert found.ahead_identified
    assert low <= found.ahead <= high
    assert found.ahead_interval[0] <= found.ahead <= found.ahead_interval[1]


def test_what_is_not_identified_stays_pro_rata() -> None:
    """Nobody stands behind these orders, so that every model puts each cancellation ahead of them."""
    rows: list[Row] = []
    for turn in range(4):
        at = 1 + turn * 400_000_000
        rows += [(at, 731 + turn, 0), (at + 1, -300, 0), (at + 2, -700, 700), (at + 3, -731 - turn, 731 + turn)]
        rows += [(at + 4, 1000, 0)]
    ahead, power = fitted_values(fit_queue(watch([tape_of(1000, rows)])))
    assert not ahead.identified
    assert (ahead.value, power.value) == (0.5, 1.0)


def test_too_few_orders_are_no_calibration() -> None:
    with pytest.raises(DataError, match="too few orders show their fate"):
        fit_queue(watch([tape_of(1000, [(1, 731, 0), (2, -300, 0), (3, -731, 0)])]))


def test_own_samples_tell_it_exactly() -> None:
    """Between two samples 400 were withdrawn and 100 traded, and the place moved up by 300: 200 of 400 were ahead."""
    rows = [(10, 2000, 0), (20, -400, 0), (30, -100, 100), (90, 5, 0)]
    tape = tape_of(2000, rows)
    samples = [Sample("a", 15, 0, BID, 500, 1500), Sample("a", 40, 0, BID, 500, 1200)]
    ghosts = ghosts_of_samples(tape, samples)
    assert ghosts.fate.tolist() == [SAMPLED]
    assert ghosts.removed.tolist() == [400, 100]
    assert ghosts.level.tolist() == [4000, 3600]
    # Pro rata: 400 x 1500/3500 = 171 ahead, 29 too few of 1500.
    assert errors(ghosts, np.array([0]), 0.5, 1.0).tolist() == [pytest.approx(29 / 1500)]


def test_samples_of_two_prices_or_across_a_gap_tell_nothing() -> None:
    tape = tape_of(2000, [(10, 100, 0), (20, -100, 0), (60, 5, 0)])
    moved = [Sample("a", 12, 0, BID, 500, 1500), Sample("a", 40, 0, Price(4900), 500, 100)]
    outside = [Sample("b", 12, 0, BID, 500, 1500), Sample("b", 99, 0, BID, 500, 100)]
    assert ghosts_of_samples(tape, [*moved, *outside]).total == 0
    assert sampled([tape], {"another": moved}) == []
