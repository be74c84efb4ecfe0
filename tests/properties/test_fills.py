"""How much is filled, when and with what chance: invariants 15, 17, 19 to 21, 23 and 25 of the simulator, by number."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from kflow.market.fees import FeeSchedule
from kflow.market.grid import Grid
from kflow.sim import kernel
from kflow.sim.accounts import Limits, market_of, new_accounts
from kflow.sim.fills import BAND, MODELS, NO_LATENCY, Assumptions
from kflow.sim.tape import Tape, compile_tape
from kflow.testing.cases import SCHEDULES, as_array
from kflow.testing.compiled import Compiled
from kflow.testing.tapes import CENTS, Shape, frozen, random_tape, stretch_of, tape_of
from kflow.units import CONTRACT, DOLLAR, Money, Price, Size

YES, NO = 0, 1
SECOND = 1_000_000
NO_FEES = FeeSchedule.parse("quadratic", 0)
RICH = Limits(cash=Money(10**15), max_position=Size(2**40), max_order=Size(2**40))


def assuming(model: str = "queue", walk_from: int = 20 * CONTRACT, fees: FeeSchedule = NO_FEES) -> Assumptions:
    return Assumptions(model=MODELS[model], fees=fees, latency=NO_LATENCY, walk_from=Size(walk_from))


def some_asks(rng: np.random.Generator) -> dict[int, int]:
    """Sizes by column, from 51 cents up."""
    columns = rng.choice(np.arange(50, 70), 6, replace=False)
    return {int(c): int(rng.integers(1, 9_000)) for c in np.sort(columns)}


def offered(asks: dict[int, int], seconds: int = 60) -> Tape:
    prices = CENTS.prices()
    return frozen([(4_000, 5_000)], [(DOLLAR - prices[c], size) for c, size in asks.items()], seconds)


def test_15_a_larger_order_never_gets_a_better_mean_price() -> None:
    for seed in range(30):
        rng = np.random.default_rng(seed)
        tape = offered(some_asks(rng))
        mean = 0.0
        for size in np.sort(rng.integers(1, 60_000, 12)):
            account = Compiled(tape, assuming(walk_from=0))
            number = account.enter(YES, 98, int(size), kernel.IOC)
            price = account.field(number, kernel.NOTIONAL) / account.filled(number)
            assert price >= mean
            mean = price


@pytest.mark.parametrize("model", BAND)
def test_15_more_ahead_never_fills_earlier(model: str) -> None:
    """The same trades at 40 cents, more and more contracts there before us."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        sizes = rng.integers(1, 400, 60).tolist()
        changes = [((n + 2) * SECOND, YES, 4_000, -size, size) for n, size in enumerate(sizes)]
        last = 0, 0
        for ahead in range(0, 9_000, 700):
            # As much joins behind us as will be traded, so that each trade finds its contracts.
            joins = [(SECOND, NO, 100, 0, 0), (SECOND + 1, YES, 4_000, 30_000, 0)]
            tape = tape_of([(4_000, ahead)] if ahead else [(3_000, 1)], [(5_000, 9_000)], [*joins, *changes])
            account = Compiled(tape, assuming(model))
            number = account.enter(YES, 39, 10 * CONTRACT)
            account.run(tape.span_us(0)[1])
            done = account.field(number, kernel.STATUS) == kernel.DONE
            now = (account.field(number, kernel.LAST) if done else 2**62), -account.filled(number)
            assert now >= last
            last = now


def binomial_tail(hits: int, trials: int, chance: float) -> float:
    """Chance of a count as far from the mean as this, or farther, on its side."""
    counts = range(hits, trials + 1) if hits > trials * chance else range(hits + 1)
    logs = math.log(chance), math.log(1 - chance)
    log_of = [
        math.lgamma(trials + 1)
        - math.lgamma(k + 1)
        - math.lgamma(trials - k + 1)
        + k * logs[0]
        + (trials - k) * logs[1]
        for k in counts
    ]
    return sum(math.exp(value) for value in log_of)


def hits(tape: Tape, col: int, size: int, flags: int, until_us: int, count: int = 4_000) -> int:
    """Of as many accounts with one order each, those that got all of it."""
    state = new_accounts(count, tape.columns, Limits(), seed=11)
    market, start_us = market_of(tape), tape.span_us(0)[0]
    kernel.seat_all(state, market, np.zeros(count, np.int64), np.full(count, start_us))
    plan = as_array([(start_us, kernel.PLACE, 0, YES, col, size, flags, 0)] * count)
    spans = np.stack([np.arange(count), np.arange(1, count + 1)], axis=1)
    kernel.play(state, market, assuming("probabilistic").rules(), plan, spans, np.full(count, until_us))
    return int((state.account[:, kernel.POSITION] == size).sum())


# Chance of an order that crosses the 47 to 50 cent spread as it arrives: price, age 0, size, no activity.
CROSSING = [
    (49, 500, 0.95 - 0.10 + 0.05 - 0.10),
    (49, 3_000, 0.95 - 0.10 + 0.00 - 0.10),
    (52, 3_000, 0.99 - 0.10 + 0.00 - 0.10),
    (52, 8_000, 0.99 - 0.10 - 0.03 - 0.10),
    (49, 12_000, 0.95 - 0.10 - 0.10 - 0.10),
]


@pytest.mark.parametrize(("col", "size", "chance"), CROSSING)
def test_17_crossing_orders_fill_as_often_as_configured(col: int, size: int, chance: float) -> None:
    tape = frozen([(4_700, 50_000)], [(DOLLAR - 5_000, 50_000)], seconds=2)
    found = hits(tape, col, size, kernel.IOC, 2 * SECOND)
    assert binomial_tail(found, 4_000, chance) > 5e-7


# (column, chance but for age) of 30 contracts: at the bid, one tick better, three cents behind it.
RESTING = [(46, 0.40 - 0.10), (47, 0.40 + 0.40 / 3 - 0.10), (43, 0.30 - 0.05 * 3 - 0.10)]


@pytest.mark.parametrize("seconds", [10, 30])
@pytest.mark.parametrize(("col", "base"), RESTING)
def test_17_resting_orders_fill_as_often_as_configured(col: int, base: float, seconds: int) -> None:
    """An event each second: the order lives through -ln(1 - p)/30 of each, p rising with its age."""
    tape = frozen([(4_700, 50_000)], [(DOLLAR - 5_000, 50_000)], seconds=40)
    ages = range(1, seconds + 1)
    chances = [min(max(base - 0.10 + 0.15 * age / 30, 0.01), 0.99) for age in ages]
    lived = sum(-math.log(1 - chance) / 30 for chance in chances)
    found = hits(tape, col, 3_000, 0, (1 + seconds) * SECOND)
    assert binomial_tail(found, 4_000, 1 - math.exp(-lived)) > 5e-7


def test_19_small_orders_take_the_touch_and_larger_ones_walk() -> None:
    for seed in range(60):
        rng = np.random.default_rng(seed)
        asks = some_asks(rng)
        touch, limit = min(asks), int(rng.integers(min(asks), 72))
        for size in (1, 500, 1_999, 2_000, 2_001, 15_000):
            account = Compiled(offered(asks), assuming())
            account.take(YES, limit, size)
            reach = sum(shown for c, shown in asks.items() if c <= limit) if size >= 2_000 else asks[touch]
            assert account.position == min(size, reach)
            if size < 2_000:
                assert {row[kernel.L_COL] for row in account.fills} <= {touch}


def test_20_what_was_taken_is_back_after_five_seconds_of_event_time() -> None:
    """Never less than nothing is left, never more than shown is given, and all of it 5 s after the last taking."""
    for seed in range(30):
        rng = np.random.default_rng(seed)
        asks = some_asks(rng)
        shown = sum(asks.values())
        account = Compiled(offered(asks, 200), assuming(walk_from=0), RICH)
        since, left = -(10**9), shown
        for _ in range(25):
            account.run(account.now + int(rng.choice([1, 900_000, 4_999_999, 5_000_000])))
            if account.now - since >= 5_000_000:
                left = shown
            wanted = int(rng.choice([1, shown // 3, shown, 2 * shown]))
            # The whole depth each time, so that every level's five seconds begin together.
            found = account.take(YES, 98, max(wanted, left))
            assert found == left
            since, left = (account.now if found else since), left - found


@pytest.mark.parametrize("left", [0, 700, 3_000, 5_000])
def test_20_a_level_that_shrinks_below_what_was_taken_has_nothing_left(left: int) -> None:
    changes = [
        (2 * SECOND, NO, 5_000, left - 5_000, 0),
        (3 * SECOND, NO, 5_000, 2_500, 0),
        (9 * SECOND, YES, 100, 0, 0),
    ]
    account = Compiled(tape_of([(100, 1)], [(5_000, 5_000)], [(SECOND, YES, 100, 0, 0), *changes]), assuming())
    assert account.take(YES, 49, 3_000) == 3_000
    account.run(2 * SECOND)
    assert account.take(YES, 49, 9_000) == max(left - 3_000, 0)
    account.run(3 * SECOND)
    assert account.take(YES, 49, 9_000) == 2_500


def two_stretches() -> Tape:
    """Nothing happens but time; then, behind a gap, everything trades."""
    quiet = [(second * SECOND, YES, 100, 0, 0) for second in range(1, 5)]
    busy = [(10 * SECOND, YES, 4_000, -5_000, 5_000), (11 * SECOND, YES, 3_900, -5_000, 5_000)]
    first = stretch_of([(100, 1), (4_000, 5_000)], [(5_000, 5_000)], quiet)
    second = stretch_of([(3_900, 5_000), (4_000, 5_000)], [(5_000, 5_000)], busy)
    return compile_tape("GAP", [first, second], CENTS, {})


@pytest.mark.parametrize("model", MODELS)
def test_21_a_resting_order_gets_nothing_from_behind_a_gap(model: str) -> None:
    account = Compiled(two_stretches(), assuming(model), seed=1)
    account.enter(YES, 0, 1_000, kernel.POST_ONLY)
    account.run(20 * SECOND)
    assert account.fills == []


def test_21_no_order_takes_from_a_book_that_is_not_known() -> None:
    account = Compiled(two_stretches(), assuming())
    account.run(6 * SECOND)
    assert account.take(YES, 49, 1_000) == 0


def test_21_no_order_outlives_its_stretch() -> None:
    account = Compiled(two_stretches(), assuming())
    number = account.enter(YES, 30, 1_000)
    account.run(6 * SECOND)
    assert account.field(number, kernel.STATUS) == kernel.DONE


def test_21_nothing_is_carried_over_a_gap() -> None:
    account = Compiled(two_stretches(), assuming())
    account.enter(YES, 30, 1_000)
    assert account.take(YES, 49, 5_000) == 5_000
    account.run(4 * SECOND)
    account.seat(1, 4 * SECOND + 1)
    assert account.state.account[0, kernel.RESTING] == 0
    assert account.take(YES, 49, 5_000) == 5_000


def test_23_independent_fills_give_the_same_end_in_any_order() -> None:
    asks, bids = [(5_000, 9_000)], [(4_000, 9_000)]
    takes = [(YES, 49, 1_000), (NO, 39, 700), (YES, 49, 2_300), (NO, 39, 4_000)]
    ends = set()
    for turn in range(len(takes)):
        account = Compiled(frozen(bids, asks), assuming(fees=SCHEDULES[0]))
        for side, col, size in takes[turn:] + takes[:turn]:
            assert account.take(side, col, size) == size
        ends.add((account.cash, account.position, account.fees))
    assert len(ends) == 1


FINE = Grid.named("center_centi_edge_centi_cent")


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_25_takers_fees_over_sampled_prices_and_counts(schedule: FeeSchedule) -> None:
    """One order walks hundreds of levels, so its roundings are carried; and as many orders take one level each."""
    rng = np.random.default_rng(25)
    prices = np.sort(rng.choice(np.arange(1, DOLLAR), 300, replace=False)).tolist()
    sizes = [int(size) for size in rng.integers(1, 100_000, 300)]
    tape = frozen([], [(DOLLAR - price, size) for price, size in zip(prices, sizes, strict=True)], 2, FINE)
    walker, picker = (Compiled(tape, assuming(walk_from=0, fees=schedule), RICH) for _ in range(2))
    walker.take(YES, len(FINE) - 1, sum(sizes))
    order = schedule.order()
    whole = [order.fill(Price(p), Size(s), buy=True, taker=True).total for p, s in zip(prices, sizes, strict=True)]
    assert [row[kernel.L_FEE] for row in walker.fills] == whole
    for price, size in zip(prices, sizes, strict=True):
        picker.take(YES, FINE.index(Price(price)), size)
    single = [
        schedule.order().fill(Price(p), Size(s), buy=True, taker=True).total for p, s in zip(prices, sizes, strict=True)
    ]
    assert [row[kernel.L_FEE] for row in picker.fills] == single


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
@pytest.mark.parametrize("side", [YES, NO])
def test_25_makers_fees_carry_their_roundings(schedule: FeeSchedule, side: int) -> None:
    """One resting order at each of some prices, filled bit by bit by trades of odd sizes."""
    rng = np.random.default_rng(side)
    for price in rng.choice(np.arange(1, DOLLAR), 40).tolist():
        trades = rng.integers(1, 3_000, 12).tolist()
        took = [((2 + n) * SECOND, side, price, -size, size) for n, size in enumerate(trades)]
        changes = [(SECOND, side, price, 40_000, 0), *took]
        tape = tape_of([], [], [(SECOND - 1, YES, 1, 0, 0), *changes], grid=FINE)
        account = Compiled(tape, assuming(fees=schedule), RICH)
        # Ahead of all that comes to the level, so that every trade is ours.
        account.enter(side, FINE.index(Price(price if side == YES else DOLLAR - price)), sum(trades))
        account.run(60 * SECOND)
        order = schedule.order()
        fees = [order.fill(Price(price), Size(size), buy=True, taker=False).total for size in trades]
        assert [row[kernel.L_FEE] for row in account.fills] == fees


def test_25_the_venues_own_maker_fees_can_be_charged() -> None:
    Assumptions(fees=FeeSchedule.parse("quadratic_with_maker_fees", 1)).rules()


@pytest.mark.parametrize("column", [-1, 99])
def test_an_amend_off_the_grid_is_not_sent(column: int) -> None:
    account = Compiled(frozen([], [(DOLLAR - 9_950 + 50, 100)]), assuming())
    number = account.enter(YES, 30, 1_000)
    account.amend(number, column, 1_000)
    account.run(account.now)
    assert (account.field(number, kernel.STATUS), account.field(number, kernel.COL)) == (kernel.RESTS, 30)


def by_moment(account: Compiled) -> Counter[tuple[int, ...]]:
    """What each order got at each moment and price: a step lays what was traded on it in parts."""
    sums: Counter[tuple[int, ...]] = Counter()
    for row in account.fills:
        sums[row[: kernel.L_SIZE]] += row[kernel.L_SIZE]
    return sums


@pytest.mark.parametrize("model", ["queue", "queue-pessimistic", "queue-optimistic", "touch"])
def test_steps_of_a_grid_give_what_every_event_gives_where_all_lie_on_it(model: str) -> None:
    """One change and one order at a time, so that nothing that a step sums up hides an order of events."""
    step_us, filled = 250_000, 0
    shape = Shape(changes=1, crossing=1.0, gaps_us=(step_us,), partly=0.0)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        tape = random_tape(rng, shape=shape)
        start_us, stop_us = tape.span_us(0)
        every, stepped = (Compiled(tape, assuming(model), seed=seed, step_us=step) for step in (0, step_us))
        plan = [(start_us + int(n) * step_us, int(rng.integers(2)), int(rng.integers(9))) for n in range(1, 40, 3)]
        for at, side, col in plan:
            for account in (every, stepped):
                account.run(at)
                if account.state.account[0, kernel.RESTING] == 0:
                    account.place(side, col, 1_500)
        for account in (every, stepped):
            account.run(stop_us)
        assert by_moment(every) == by_moment(stepped)
        filled += len(every.fills)
    assert filled > 100
