"""Queue models against exact FIFO: the level by hand, its feed, and what a calibration makes of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kflow.exchange.matching import OrderBook
from kflow.exchange.orders import Order
from kflow.market.events import Side
from kflow.market.grid import Grid
from kflow.sim import kernel
from kflow.sim.accounts import Limits, market_of, new_accounts
from kflow.sim.fills import MODELS, FillModel
from kflow.sim.fitting import AHEAD, Fit, fit
from kflow.sim.tape import ADD, CANCEL, PRINT, TRADE, Tape, compile_tape
from kflow.testing.enginetape import EngineTape, crowd_probes
from kflow.testing.fifo import CASES, KIND, PRICE, SIZE, US, Paths, Probes, Queue, play
from kflow.units import CONTRACT, Price, Size

F64 = NDArray[np.float64]
QUEUE = MODELS["queue"]
RIVALS = {**MODELS, "n=2": QUEUE.fitted(0.5, 2.0), "n=3": QUEUE.fitted(0.5, 3.0)}
GRID = Grid.named("linear_cent")


# The level, order by order.


def test_a_taker_eats_from_the_front_and_ours_gets_what_is_wanted_beyond_what_is_ahead() -> None:
    queue = Queue([30, 20], own=12)
    queue.add(40)
    assert queue.take(35) == 35
    assert (queue.orders, queue.left) == ([15, 40], 12)
    assert queue.take(20) == 20  # 15 lay ahead
    assert (queue.orders, queue.left) == ([35], 7)
    assert queue.take(50) == 35  # there is no more, but ours would have been there
    assert (queue.orders, queue.left) == ([], 0)


def test_cancellations_ahead_move_ours_and_those_behind_do_not() -> None:
    queue = Queue([30, 20], own=5)
    queue.add(10)
    assert queue.cancel(2) == 10
    assert queue.cancel(0) == 30
    queue.take(20)
    assert (queue.orders, queue.left) == ([], 5)
    queue.add(10)
    queue.take(3)
    assert (queue.orders, queue.left) == ([7], 2)


STEPS = st.lists(st.tuples(st.sampled_from("act"), st.integers(0, 60)), max_size=60)


def naive(ahead: list[int], steps: list[tuple[str, int]]) -> tuple[list[int], int]:
    """The same with two lists: the others', and those of them ahead of ours."""
    front, behind, left = list(ahead), list[int](), 10
    for what, number in steps:
        if what == "a":
            behind.append(number + 1)
        elif what == "c" and front + behind:
            place = number % len(front + behind)
            (front if place < len(front) else behind).pop(place if place < len(front) else place - len(front))
        elif what == "t":
            left -= min(left, max(number - sum(front), 0))
            for orders in (front, behind):
                while number and orders:
                    eaten = min(number, orders[0])
                    orders[0], number = orders[0] - eaten, number - eaten
                    orders[:] = [size for size in orders if size]
    return front + behind, left


@settings(max_examples=60, deadline=None)
@given(ahead=st.lists(st.integers(1, 50), min_size=1, max_size=8), steps=STEPS)
def test_a_level_is_as_two_plain_lists_and_its_feed_has_its_sizes(
    ahead: list[int], steps: list[tuple[str, int]]
) -> None:
    queue, rows, totals = Queue(ahead, own=10), [(1, ADD, 1)], [sum(ahead)]
    for us, (what, number) in enumerate(steps, start=2):
        kind, size, beyond = ADD, number + 1, 0
        if what == "a":
            queue.add(size)
        elif what == "c":
            kind, size = CANCEL, queue.cancel(number % len(queue.orders)) if queue.orders else 0
        else:
            kind, size = TRADE, queue.take(number)
            beyond = number - size
        rows += [(us, kind, size)] if size else []
        rows += [(us, PRINT, beyond)] if beyond else []
        totals.append(sum(queue.orders))
    assert (queue.orders, queue.left) == naive(ahead, steps)
    # The feed begins one contract short, so that there is an event to begin with.
    case = replace(CASES["uniform"], ahead=sum(ahead) - 1, horizon_s=1e-6 * len(steps))
    paths = Paths(case, np.array(rows, np.int64), np.array([1]), np.array([-1]))
    if case.ahead:
        us = np.arange(1, len(totals) + 1)
        assert shown(paths.probes().tape, Side.YES, PRICE, us).tolist() == [100 * total for total in totals]


def shown(tape: Tape, side: Side, own_price: int, us: NDArray[np.int64]) -> NDArray[np.int64]:
    """Size of a level at moments, by the kernel's own replay."""
    state = new_accounts(len(us), tape.columns, Limits(orders=1))
    kernel.seat_all(state, market_of(tape), np.zeros(len(us), np.int64), us)
    col = GRID.index(Price(own_price if side == Side.YES else 10_000 - own_price))
    return state.depth[:, side, col].astype(np.int64)


def test_plays_begin_with_what_is_ahead_and_repeat_themselves() -> None:
    paths = play(CASES["thin back"], 200, 5)
    assert np.all(shown(paths.probes().tape, Side.YES, PRICE, paths.start_us) == 150 * CONTRACT)
    assert np.array_equal(play(CASES["thin back"], 200, 5).events, paths.events)
    assert np.all(np.diff(paths.events[:, US])[paths.events[1:, KIND] != PRINT] > 0)
    assert np.all(paths.events[:, SIZE] > 0)


# Where cancellations are known, the models that assume so are exact: to the µs.


@pytest.mark.parametrize(("draws", "model"), [(10_000, "queue-pessimistic"), (-10_000, "queue-optimistic")])
@pytest.mark.parametrize("case", ["uniform", "thin uniform"])
def test_the_ends_of_the_band_are_exact_where_they_hold(case: str, draws: int, model: str) -> None:
    paths = play(replace(CASES[case], draws=draws, takes=4 * CASES[case].takes), 150, 3)
    assert paths.filled.any()
    assert np.array_equal(paths.probes().predicted(MODELS[model]), paths.filled_us)


def test_shares_filled_are_those_published() -> None:
    for case in CASES.values():
        filled = play(case, 3000, 11).filled
        assert abs(filled.mean() - case.truth) < 0.03 + 2 * filled.std() / math.sqrt(3000)


# Calibration.


def calibrated(lots: list[Probes], *, alone: bool) -> Fit:
    def losses(ahead: float, power: float) -> F64:
        errors = [lot.errors_s(QUEUE.fitted(ahead, power)) for lot in lots]
        return np.concatenate(errors) if alone else np.array([error.sum() for error in errors])

    return fit(losses, rounds=2)


def wrong(lots: list[Probes], model: FillModel) -> list[F64]:
    return [((lot.predicted(model) >= 0) != (lot.filled_us >= 0)).astype(np.float64) for lot in lots]


def keeps_up(lots: list[Probes], model: FillModel, *, alone: bool) -> bool:
    """Whether a model is within two standard errors of each rival, by pairs."""

    def units(parts: list[F64]) -> F64:
        return np.concatenate(parts) if alone else np.array([part.sum() for part in parts])

    ours = units(wrong(lots, model))
    more = [ours - units(wrong(lots, rival)) for rival in RIVALS.values()]
    return all(extra.sum() <= 2 * extra.std() * math.sqrt(len(extra)) for extra in more)


@pytest.mark.parametrize("name", CASES)
def test_the_calibrated_model_keeps_up_with_the_best(name: str) -> None:
    case = CASES[name]
    count = 350 if case.ahead == 1500 else 1000  # thin ones tell less each, and cost less
    train, test = (play(case, count, (21, use)).probes() for use in (0, 1))
    found = calibrated([train], alone=True)
    assert keeps_up([test], QUEUE.fitted(found.ahead, found.power), alone=True)
    assert found.ahead_identified
    if "uniform" in name:
        low, high = found.ahead_interval
        assert low <= 0.5 <= high
    else:
        assert (found.ahead < 0.3) == ("back" in name)


def test_pro_rata_is_unbiased_where_all_cancel_alike() -> None:
    paths = play(CASES["uniform"], 2000, 31)
    more = (paths.probes().predicted(QUEUE) >= 0).astype(np.float64) - paths.filled
    assert abs(more.mean()) < 3 * more.std() / math.sqrt(len(more))


def test_the_calibrated_model_keeps_up_in_the_exchange_s_own_queues() -> None:
    train, test = (
        [crowd_probes(seed, seconds=30, every_s=1, hold_s=2) for seed in seeds] for seeds in (range(5), range(50, 58))
    )
    found = calibrated(train, alone=False)
    model = QUEUE.fitted(found.ahead, found.power)
    assert keeps_up(test, model, alone=False)
    assert np.concatenate(wrong(test, model)).mean() < 0.03


def planted(ahead: float, power: float) -> Callable[[float, float], F64]:
    """Losses of 400 orders that are least at a point."""
    noise = np.random.default_rng(4).normal(0, 0.3, 400)
    return lambda a, n: (a - ahead - 0.1 * noise) ** 2 + 0.1 * (math.log(n / power) - noise) ** 2


def test_a_fit_finds_what_was_planted() -> None:
    found = fit(planted(0.3, 2.0))
    assert found.ahead == pytest.approx(0.3, abs=0.03)
    assert found.power == pytest.approx(2.0, rel=0.15)
    assert found.identified
    assert found.ahead_interval[0] < 0.3 < found.ahead_interval[1]
    assert [value for value, _ in found.profile_ahead] == sorted({*AHEAD, *(value for value, _ in found.profile_ahead)})


def test_where_nothing_depends_on_the_parameters_they_are_not_identified() -> None:
    found = fit(lambda *_: np.ones(100))
    assert (found.ahead, found.power) == (0.5, 1.0)
    assert not found.ahead_identified
    assert not found.power_identified
    assert {score for _, score in found.profile_ahead + found.profile_power} == {0.0}


# The exchange's own engine.


def test_the_tape_of_an_engine_is_its_book_without_own_orders() -> None:
    book = OrderBook(GRID)
    book.submit(Order(Side.YES, Price(4000), Size(500)))
    own = Order(Side.YES, Price(4000), Size(200), owner="us", post_only=True)
    tape = EngineTape(book, 10)
    entered = tape.submit(own, 10)
    tape.note(book.submit(Order(Side.NO, Price(4100), Size(700))), 20)
    behind = Order(Side.YES, Price(4000), Size(300))
    tape.note(book.submit(behind), 30)
    tape.note(book.submit(Order(Side.NO, Price(4000), Size(650))), 40)  # 500, and 150 of ours
    tape.note(book.cancel(behind), 40)
    left_us = tape.cancel(own, 50)
    taker = Order(Side.YES, Price(4100), Size(100), owner="us")
    tape.submit(taker, 60)
    stretch = tape.stretch()
    assert (entered, left_us) == (11, 50)
    assert stretch.start == ([(4000, 500)], [])
    assert stretch.us.tolist() == [20, 30, 40, 41, 60]
    assert stretch.change.tolist() == [700, 300, -500, -300, -100]
    assert stretch.traded.tolist() == [0, 0, 500, 0, 100]
    assert stretch.prints.tolist() == [[3, 40, 0, 4000, 150]]
    assert [(fill.us, fill.order, fill.price, fill.size, fill.taker) for fill in tape.fills] == [
        (40, own, 4000, 150, False),
        (60, taker, 4100, 100, True),
    ]
    whole = compile_tape("M", [stretch], GRID, {})
    assert shown(whole, Side.NO, 5900, np.array([60])).tolist() == [book.size_at(Side.NO, Price(5900))]


def test_crowd_probes_say_what_the_engine_did() -> None:
    probes = crowd_probes(3, seconds=30, every_s=1, hold_s=2)
    filled = probes.filled_us >= 0
    assert len(probes.start_us) > 40
    assert 0.3 < filled.mean() < 0.95
    assert np.all((probes.filled_us > probes.start_us) | ~filled)
    assert np.all(probes.until_us - probes.start_us >= 1_900_000)
    assert np.all(probes.size == CONTRACT)
