"""A study: which orders are sent, which count, what they got and what that was worth, by hand on tiny tapes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kflow.market.fees import FeeSchedule
from kflow.sim import kernel
from kflow.sim import study as studying
from kflow.sim.fills import HOME, MODELS, NO_LATENCY, Assumptions, FillModel, Latency
from kflow.sim.report import summary
from kflow.sim.study import MARKOUTS, Outcome, Plan, batches, concatenated, empty, markouts, mids, study
from kflow.sim.tape import Tape, compile_tape
from kflow.testing.tapes import CENTS, COARSE, Shape, frozen, random_tape, stretch_of, tape_of
from kflow.units import Price, Size

YES, NO = 0, 1
S = 1_000_000
BIDS, OFFERS = [(4_000, 5_000)], [(5_500, 8_000)]  # 50 at 40 cents; the ask is 45
# Both sides quote throughout; every second something that changes nothing.
TICKS = [(second * S, YES, 100, 0, 0) for second in range(1, 21)]


def assuming(model: FillModel | str = "queue", latency: Latency = NO_LATENCY) -> Assumptions:
    chosen = MODELS[model] if isinstance(model, str) else model
    return Assumptions(model=chosen, latency=latency, fees=FeeSchedule.parse("quadratic", 1))


def plan(contracts: float = 10, **fields: Any) -> Plan:
    return Plan(size=Size(round(contracts * 100)), **fields)


def ticking(*changes: tuple[int, int, int, int, int]) -> Tape:
    """Both sides quote 20 s long, and this happens."""
    return tape_of(BIDS, OFFERS, sorted([*TICKS, *changes], key=lambda change: change[0]))


def equal(one: Outcome, other: Outcome) -> bool:
    pairs = [*zip(one.orders, other.orders, strict=True), *zip(one.fills, other.fills, strict=True)]
    return all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in [*pairs, (one.drift, other.drift)])


# Which orders.


def test_orders_are_sent_at_equal_intervals_to_the_last_event() -> None:
    orders = study([frozen(BIDS, OFFERS, 10)], plan(every_us=2_500_000), assuming()).orders
    moments = [1 * S, 3 * S + S // 2, 6 * S, 8 * S + S // 2]
    assert orders.sent_us.tolist() == [us for us in moments for _ in (YES, NO)]
    assert orders.side.tolist() == [YES, NO] * 4
    assert orders.left_us.tolist() == [10 * S - us for us in moments for _ in (YES, NO)]


def test_of_one_side_when_one_is_asked_for() -> None:
    orders = study([frozen(BIDS, OFFERS, 4)], plan(sides=(NO,)), assuming()).orders
    assert (orders.side.tolist(), orders.sent_us.tolist()) == ([NO] * 3, [S, 2 * S, 3 * S])


@pytest.mark.parametrize(("side", "price"), [(YES, 4_000), (NO, 5_500)])
def test_no_order_is_sent_where_a_side_does_not_quote(side: int, price: int) -> None:
    size = dict(BIDS if side == YES else OFFERS)[price]
    tape = ticking((4 * S, side, price, -size, 0), (7 * S, side, price, 10, 0))
    assert sorted(set(study([tape], plan(), assuming()).orders.sent_us.tolist())) == [
        s * S for s in range(1, 20) if not 4 <= s < 7
    ]


def test_every_stretch_of_every_tape_begins_its_own_orders() -> None:
    stretches = [stretch_of(BIDS, OFFERS, [(us, YES, 100, 0, 0), (us + 2 * S, YES, 100, 0, 0)]) for us in (5, 9 * S)]
    told: list[int] = []
    found = study(
        [compile_tape("A", stretches, CENTS, {}), frozen(BIDS, OFFERS, 2)],
        plan(sides=(YES,)),
        assuming(),
        progress=told.append,
    )
    assert found.orders.sent_us.tolist() == [5, 5 + S, 9 * S, 10 * S, S]
    assert told == [2, 2, 1]


def test_a_stretch_without_time_sends_nothing() -> None:
    found = study([tape_of(BIDS, OFFERS, [(5, YES, 100, 0, 0)])], plan(), assuming())
    assert (len(found.orders.size), len(found.fills.size), found.drift.shape) == (0, 0, (0,))
    assert equal(found, empty())
    assert equal(concatenated([]), empty())


def test_blocks_are_hours_of_the_calendar_the_same_for_every_market() -> None:
    changes = [(second * S, YES, 100, 0, 0) for second in (3_000, 11_000)]
    tapes = [tape_of(BIDS, OFFERS, changes), frozen(BIDS, OFFERS, 4_000)]
    orders = study(tapes, plan(every_us=1_000 * S, sides=(YES,)), assuming()).orders
    hours = [0, 1, 1, 1, 1, 2, 2, 2]  # of orders sent at 3,000 to 10,000 s, then at 1 to 3,001 s
    assert orders.block.tolist() == [*hours, 0, 0, 0, 0]


def test_an_order_counts_at_a_horizon_only_if_its_stretch_lasts_as_long() -> None:
    told = summary(study([frozen(BIDS, OFFERS, 11)], plan(), assuming()), [0.5, 1, 4, 9.5, 60])
    # Sent at 1 to 10 s, on both sides; the stretch ends at 11 s.
    assert [horizon["orders"] for horizon in told["horizons"]] == [20, 20, 14, 2, 0]
    assert told["horizons"][-1]["full"] is None
    assert told["horizons"][0]["full"] == 0.0


# Where they are placed.


@pytest.mark.parametrize(
    ("where", "side", "price", "touch"),
    [
        ({"where": "join"}, YES, 4_000, 4_000),
        ({"where": "join"}, NO, 5_500, 5_500),
        ({"where": "improve"}, YES, 4_100, 4_000),
        ({"where": "improve"}, NO, 5_600, 5_500),
        ({"where": "cross"}, YES, 4_500, 4_500),
        ({"where": "cross"}, NO, 6_000, 6_000),
        ({"where": "sweep"}, YES, 4_500, 4_500),  # a small order meets the touch only
        ({"where": "sweep"}, NO, 6_000, 6_000),
        ({"price": Price(3_700)}, YES, 3_700, 4_000),
        ({"price": Price(4_400)}, NO, 5_600, 5_500),  # a YES price for either side
    ],
)
def test_an_order_stands_where_it_was_asked_to(where: dict[str, Any], side: int, price: int, touch: int) -> None:
    orders = study([frozen(BIDS, OFFERS, 2)], plan(sides=(side,), **where), assuming()).orders
    assert (orders.price.tolist(), orders.touch.tolist(), orders.side.tolist()) == ([price], [touch], [side])
    assert orders.mid.tolist() == [8_500 if side == YES else 11_500]


def test_joining_stands_behind_the_level_improving_behind_nothing_and_crossing_does_not_rest() -> None:
    ahead = [
        study([frozen(BIDS, OFFERS, 2)], plan(sides=(YES,), where=where), assuming()).orders.ahead.tolist()
        for where in ("join", "improve", "cross")
    ]
    assert ahead == [[5_000], [0], [-1]]


def test_a_large_order_that_crosses_walks_and_a_small_one_does_not() -> None:
    tape = frozen(BIDS, [(5_500, 300), (5_300, 9_000)], 2)
    for contracts, filled, cost in [(19, 300, 300 * 4_500), (25, 2_500, 300 * 4_500 + 2_200 * 4_700)]:
        found = study([tape], plan(contracts, price=Price(4_900), sides=(YES,), immediate=True), assuming())
        assert (found.orders.filled.tolist(), found.orders.cost.tolist()) == ([filled], [cost])
        assert not found.fills.maker.any()


def test_an_order_that_sweeps_takes_level_after_level_and_what_is_left_of_it_ends() -> None:
    tape = frozen(BIDS, [(5_500, 3_000), (5_300, 4_000), (1_000, 500)], 2)
    found = study([tape], plan(100, where="sweep", sides=(YES,)), assuming())
    assert found.fills.price.tolist() == [4_500, 4_700, 9_000]
    assert found.fills.size.tolist() == [3_000, 4_000, 500]
    assert (found.orders.filled.tolist(), found.orders.ahead.tolist()) == ([7_500], [-1])
    assert found.orders.full_us.tolist() == [kernel.NEVER]


# What they got.


def test_an_order_that_joins_is_filled_behind_what_is_ahead_of_it() -> None:
    """50 are ahead of 10; trades of 45, 8 and 20 come 1, 2 and 5 s later."""
    trades = [(us * S, YES, 4_000, -size, size) for us, size in ((2, 4_500), (3, 800), (6, 2_000))]
    tape = ticking((S + 1, YES, 4_000, 50_000, 0), *trades)
    orders, fills, _ = found = study([tape], plan(sides=(YES,), every_us=60 * S), assuming())
    assert fills.order.tolist() == [0, 0]
    assert fills.us.tolist() == [2 * S, 5 * S]
    assert (fills.size.tolist(), fills.price.tolist(), fills.maker.tolist()) == ([300, 700], [4_000] * 2, [True] * 2)
    assert (orders.ahead.tolist(), orders.filled.tolist(), orders.cost.tolist()) == ([5_000], [1_000], [4_000_000])
    assert (orders.first_us.tolist(), orders.full_us.tolist()) == ([2 * S], [5 * S])
    assert [found.filled_by(us).tolist() for us in (2 * S - 1, 2 * S, 5 * S - 1, 5 * S)] == [[0], [300], [300], [1_000]]


def test_an_order_that_is_filled_in_part_has_a_first_fill_and_no_last() -> None:
    tape = ticking((2 * S, YES, 4_000, -5_000, 5_000), (3 * S, YES, 4_000, 900, 0), (4 * S, YES, 4_000, -1, 1))
    orders = study([tape], plan(sides=(YES,), every_us=60 * S), assuming()).orders
    assert (orders.filled.tolist(), orders.first_us.tolist()) == ([1], [3 * S])
    assert orders.full_us.tolist() == [kernel.NEVER]


def test_an_order_may_have_many_fills() -> None:
    trades = [(2 * S + n, YES, 4_000, -10, 10) for n in range(100)]
    tape = ticking((S + 1, YES, 4_000, 50_000, 0), (2 * S - 1, YES, 4_000, -5_000, 5_000), *trades)
    orders, fills, _ = study([tape], plan(sides=(YES,), every_us=60 * S), assuming())
    assert fills.us.tolist() == [S + n for n in range(100)]
    assert (orders.filled.tolist(), int(fills.size.sum()), orders.full_us.tolist()) == ([1_000], 1_000, [S + 99])


def test_an_order_is_followed_to_the_longest_horizon() -> None:
    tape = ticking((9 * S, YES, 4_000, -5_000, 5_000), (9 * S, YES, 3_900, 5_000, 0), (10 * S, YES, 3_900, -10, 10))
    for horizon_us, filled in [(9 * S - 1, 0), (9 * S, 10)]:
        found = study([tape], plan(sides=(YES,), every_us=60 * S, horizon_us=horizon_us), assuming())
        assert found.orders.filled.tolist() == [filled]


def test_latency_delays_the_order_and_is_in_its_times() -> None:
    orders = study([frozen(BIDS, OFFERS, 9)], plan(where="cross"), assuming(latency=Latency.constant(70, 1, 30))).orders
    assert set(orders.full_us[orders.left_us >= S].tolist()) == {100_000}


def test_fees_and_costs_are_the_fills() -> None:
    orders = study([frozen(BIDS, OFFERS, 2)], plan(where="cross", sides=(YES,)), assuming()).orders
    assert orders.cost.tolist() == [10 * 450_000]
    # 7 % of .45 x .55 on each of 10 contracts is $0.17325, charged to the hundredth of a cent.
    assert orders.fees.tolist() == [173_300]


# Markouts.


def test_a_fill_is_marked_at_the_mid_that_comes_later() -> None:
    """Crosses at 45 cents when the mid is 42.5. It becomes 44 after 0.5 s and 39.5 after 5 s; 60 s are not known."""
    moves = [(S + S // 2, NO, 5_200, 9, 0), (S + S // 2, NO, 5_500, -8_000, 0), (S + S // 2, YES, 4_000, -5_000, 0)]
    moves += [(S + S // 2, YES, 4_000, 1, 0), (6 * S, YES, 4_000, -1, 0), (6 * S, YES, 3_100, 1, 0)]
    tape = ticking(*moves)
    found = study([tape], plan(where="cross", every_us=60 * S), assuming())
    assert found.fills.price.tolist() == [4_500, 6_000]
    assert found.fills.markout[:, :2].tolist() == [[-1.0, -5.5], [-4.0, 0.5]]
    assert np.isnan(found.fills.markout[:, 2]).all()


def test_the_mean_markout_leaves_out_what_is_not_known() -> None:
    """Filled 3 contracts at 2 s and 7 at 12 s, both with the mid at 44.5; of the second no mid 10 s later is known."""
    moves = [(S + 1, YES, 4_000, 50_000, 0), (2 * S - 1, NO, 5_500, -8_000, 0), (2 * S - 1, NO, 5_100, 1, 0)]
    trades = [(2 * S, YES, 4_000, -5_300, 5_300), (12 * S, YES, 4_000, -700, 700)]
    [*known, last] = summary(study([ticking(*moves, *trades)], plan(sides=(YES,), every_us=60 * S), assuming()), [60])[
        "markouts"
    ]
    assert [mark["seconds"] for mark in (*known, last)] == list(MARKOUTS)
    assert [(mark["cents"], mark["fills"]) for mark in known] == [(4.5, 2), (4.5, 1)]
    assert (last["cents"], last["error"], last["fills"]) == (None, None, 0)


def test_unequal_fills_weigh_unequally() -> None:
    """3 contracts worth +2.5 cents a second later, 7 worth +4.5: 3.9."""
    moves = [(4 * S, NO, 5_500, -8_000, 0), (4 * S, NO, 5_100, 1, 0), (S + 1, YES, 4_000, 50_000, 0)]
    trades = [(2 * S, YES, 4_000, -5_300, 5_300), (8 * S, YES, 4_000, -700, 700)]
    told = summary(study([ticking(*moves, *trades)], plan(sides=(YES,), every_us=60 * S), assuming()), [60])
    assert told["markouts"][0]["cents"] == pytest.approx(0.3 * 2.5 + 0.7 * 4.5)


def test_a_mid_is_not_known_before_after_or_where_a_side_does_not_quote() -> None:
    tape = ticking((5 * S, YES, 4_000, -5_000, 0), (6 * S, YES, 3_900, 1, 0))
    at = np.array([0, S - 1, S, 5 * S - 1, 5 * S, 6 * S, 20 * S, 20 * S + 1])
    assert np.isnan(mids(tape, 0, at)).tolist() == [True, True, False, False, True, False, False, True]
    assert mids(tape, 0, np.array([S, 6 * S])).tolist() == [8_500, 8_400]
    marks = markouts(tape, 0, np.array([4 * S, 5 * S]), np.array([YES, NO]), np.array([4_000, 5_500]))
    assert np.isnan(marks[0, 0])
    assert marks[1, 0] == pytest.approx((20_000 - 8_400) / 200 - 55)


def test_the_mid_that_left_an_order_behind_is_told_for_those_without_a_fill() -> None:
    tape = ticking((3 * S, NO, 5_500, -8_000, 0), (3 * S, NO, 5_300, 1, 0))
    found = study([tape], plan(every_us=60 * S, horizon_us=5 * S), assuming())
    assert found.drift.tolist() == [1.0, -1.0]
    assert summary(study([tape], plan(every_us=60 * S, sides=(YES,)), assuming()), [5])["unfilled_drift_cents"] == 1.0
    crossed = study([tape], plan(every_us=60 * S, where="cross"), assuming())
    assert summary(crossed, [5])["unfilled_drift_cents"] is None


# Batches, seeds and grids.


def random_books(seed: int, stretches: int = 2) -> Tape:
    shape = Shape(moments=120, crossing=0.02)
    return random_tape(np.random.default_rng(seed), grid=COARSE, shape=shape, stretches=stretches)


@pytest.mark.parametrize("model", ["queue", "probabilistic"])
def test_where_a_batch_ends_changes_nothing(monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    tapes, asked = [random_books(1), random_books(2)], plan(every_us=700_000)
    whole = study(tapes, asked, assuming(model, HOME), seed=5)
    assert 500 < len(whole.orders.size) < studying.BATCH
    assert whole.orders.filled.any()
    for size in (1, 7, 64):
        monkeypatch.setattr(studying, "BATCH", size)
        assert equal(study(tapes, asked, assuming(model, HOME), seed=5), whole)


def test_a_batch_holds_so_many_and_all_of_them_are_all_orders() -> None:
    asked = plan(every_us=S)
    parts = list(batches(3, 3 + 3_000 * S, asked))
    assert [len(starts) for starts, _ in parts] == [2_048, 2_048, 1_904]
    starts, sides = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    assert starts.tolist() == [3 + n * S for n in range(3_000) for _ in (YES, NO)]
    assert sides.tolist() == [YES, NO] * 3_000


def test_the_same_seed_gives_the_same_and_another_another() -> None:
    tape, asked = random_books(3), plan(every_us=700_000)
    first, again, other = (study([tape], asked, assuming("probabilistic", HOME), seed=seed) for seed in (1, 1, 2))
    assert equal(first, again)
    assert not equal(first, other)


def test_each_tape_may_have_assumptions_of_its_own() -> None:
    tapes = [frozen(BIDS, OFFERS, 3), frozen([(3_000, 100)], OFFERS, 3)]
    asked: list[int] = []

    def assume(tape: Tape) -> Assumptions:
        asked.append(tape.events)
        latency = NO_LATENCY if tape is tapes[0] else Latency.constant(100, 0, 0)
        return replace(assuming(), latency=latency)

    found = study(tapes, plan(where="cross", sides=(YES,)), assume)
    assert asked == [3, 3]
    assert found.orders.full_us.tolist() == [0, 0, 100_000, 100_000]


@pytest.mark.parametrize("where", ["join", "improve", "cross"])
def test_on_a_grid_on_whose_steps_all_happens_a_study_is_the_same(where: Any) -> None:
    moves = [(2 * S, YES, 4_000, 5_000, 0), (2 * S, NO, 5_500, 300, 0), (5 * S, NO, 5_500, -300, 300)]
    moves += [(us * S, YES, 4_000, -size, size) for us, size in ((3, 4_500), (4, 800), (7, 500), (12, 2_000))]
    moves += [(us * S, NO, 5_500, -size, size) for us, size in ((3, 4_000), (9, 3_900))]
    tape = ticking(*moves)
    exact, coarse = (study([tape], plan(where=where, grid_us=grid), assuming()) for grid in (None, 250_000))
    assert exact.orders.filled.any()
    for name, column in exact.orders._replace(fees=exact.orders.side)._asdict().items():
        # A step's trades may fill an order in parts, which are rounded one by one.
        assert name == "fees" or getattr(coarse.orders, name).tolist() == column.tolist()
    for us in range(0, 20 * S, S):
        assert coarse.filled_by(us).tolist() == exact.filled_by(us).tolist()


def test_on_a_grid_what_comes_between_two_steps_comes_at_the_later() -> None:
    tape = ticking((2 * S + 1, YES, 4_000, 1_000, 0), (2 * S + 1, YES, 4_000, -6_000, 6_000))
    asked = plan(sides=(YES,), every_us=60 * S)
    exact, coarse = (study([tape], replace(asked, grid_us=grid), assuming()) for grid in (None, 250_000))
    assert exact.orders.ahead.tolist() == coarse.orders.ahead.tolist() == [5_000]
    assert exact.orders.filled.tolist() == coarse.orders.filled.tolist() == [1_000]
    assert (exact.orders.full_us.tolist(), coarse.orders.full_us.tolist()) == ([S + 1], [S + 250_000])


def test_on_a_grid_an_order_between_two_steps_is_measured_by_the_book_it_is_sent_on() -> None:
    """Sent at 2 s, between steps at 1.8 and 2.2 s; at 1.9 s the bid rose to 41."""
    tape = ticking((1_900_000, YES, 4_100, 100, 0))
    orders = study([tape], plan(sides=(YES,), grid_us=400_000), assuming()).orders
    assert (orders.sent_us[1], orders.price[1]) == (2 * S, 4_100)
    assert (orders.touch[1], orders.mid[1]) == (4_100, 8_600)
