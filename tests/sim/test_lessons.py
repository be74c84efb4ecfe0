"""What was wrong with the older system (seed-lessons.md, by its numbers), and must not be here."""

from __future__ import annotations

import numpy as np
import pytest

from kflow.market.fees import FeeSchedule
from kflow.sim import kernel
from kflow.sim.accounts import Limits
from kflow.sim.fills import MODELS, NO_LATENCY, Assumptions, FillModel
from kflow.sim.tape import Tape
from kflow.testing.cases import Case, random_plan
from kflow.testing.compiled import Compiled
from kflow.testing.tapes import CENTS, COARSE, frozen, mirrored, random_tape, tape_of
from kflow.units import CONTRACT, DOLLAR, DOLLAR_MONEY, Money, Price, Size, parse_price

YES, NO = 0, 1
SECOND = 1_000_000
FREE = Assumptions(fees=FeeSchedule.parse("quadratic", 0), latency=NO_LATENCY)
CHARGED = Assumptions(fees=FeeSchedule.parse("quadratic", 1), latency=NO_LATENCY)


def col(cents: int) -> int:
    """Column of a YES price."""
    return CENTS.index(Price(cents * 100))


def book(bids: dict[int, int], asks: dict[int, int], seconds: int = 60) -> Tape:
    """A frozen book of whole cents on the YES axis and whole contracts."""
    yes = [(cents * 100, size * CONTRACT) for cents, size in bids.items()]
    no = [(DOLLAR - cents * 100, size * CONTRACT) for cents, size in asks.items()]
    return frozen(yes, no, seconds)


def random_book(rng: np.random.Generator) -> Tape:
    middle = int(rng.integers(10, 90))
    bids = {middle - int(d): int(rng.integers(1, 90)) for d in rng.integers(1, 9, 4)}
    asks = {middle + int(d): int(rng.integers(1, 90)) for d in rng.integers(1, 9, 4)}
    return book(bids, asks)


@pytest.mark.parametrize("assumptions", [FREE, CHARGED], ids=["free", "charged"])
@pytest.mark.parametrize("limits", [Limits(), Limits(cash=Money(30 * DOLLAR_MONEY), max_position=Size(5_000))])
def test_1_no_action_raises_equity_on_a_frozen_book(assumptions: Assumptions, limits: Limits) -> None:
    for seed in range(15):
        rng = np.random.default_rng(seed)
        account = Compiled(random_book(rng), assumptions, limits)
        equity = account.equity
        for _ in range(60):
            side, size = int(rng.integers(2)), int(rng.choice([1, 250, 1_000, 2_000, 7_000, 40_000]))
            account.enter(side, int(rng.integers(0, 99)), size, int(rng.choice([0, 1, 4])))
            assert account.equity <= equity
            equity = account.equity


def test_1_nor_does_waiting_for_liquidity_to_come_back() -> None:
    for seed in range(15):
        rng = np.random.default_rng(seed)
        account = Compiled(random_book(rng), CHARGED)
        start = account.equity
        for second in range(2, 60):
            account.run(second * SECOND)
            account.take(int(rng.integers(2)), int(rng.integers(0, 99)), int(rng.choice([250, 1_000, 7_000])))
            assert account.equity <= start


@pytest.mark.parametrize("first", [YES, NO])
def test_1_a_pair_is_worth_a_dollar(first: int) -> None:
    account = Compiled(book({40: 50}, {43: 50}), FREE)
    start = account.cash
    for side in (first, 1 - first):
        assert account.take(side, col(43) if side == YES else col(40), 10 * CONTRACT) == 10 * CONTRACT
    # 43c for YES, 60c for NO, and a dollar for both.
    assert (account.position, account.cash - start) == (0, -3 * 10 * 10_000)


def test_1_buying_no_while_holding_yes_is_selling() -> None:
    account = Compiled(book({40: 50}, {43: 50}), FREE)
    account.take(YES, col(43), 10 * CONTRACT)
    held = account.cash
    account.take(NO, col(40), 4 * CONTRACT)
    assert (account.position, account.cash - held) == (6 * CONTRACT, 4 * 400_000)


@pytest.mark.parametrize("cents", [3, 29, 50, 58, 97])
def test_1_buying_yes_is_selling_no(cents: int) -> None:
    """The same order fills a flat account and one that holds NO; the dollar of each closed pair is all that differs."""
    tape = book({cents - 1: 500}, {cents: 500})
    flat, holder = Compiled(tape, CHARGED), Compiled(tape, CHARGED)
    holder.take(NO, col(cents - 1), 70 * CONTRACT)
    before = [(account.cash, account.position, account.fees) for account in (flat, holder)]
    for account in (flat, holder):
        assert account.take(YES, col(cents), 30 * CONTRACT) == 30 * CONTRACT
    bought, sold = (
        (account.cash - cash, account.position - position, account.fees - fees)
        for account, (cash, position, fees) in zip((flat, holder), before, strict=True)
    )
    assert sold == (bought[0] + 30 * DOLLAR_MONEY, *bought[1:])


@pytest.mark.parametrize("middle", [5, 20, 50, 80, 95])
def test_2_books_keep_every_level_and_the_true_spread(middle: int) -> None:
    bids = {middle - away: 10 + away for away in range(1, 5)}
    asks = {middle + away: 20 + away for away in range(1, 5)}
    account = Compiled(book(bids, asks), FREE)
    for side, levels in enumerate((bids, asks)):
        shown = account.state.depth[0, side]
        assert {c: size for c, size in enumerate(shown.tolist()) if size} == {
            col(cents): size * CONTRACT for cents, size in levels.items()
        }
    assert account.state.account[0, [kernel.BID, kernel.ASK]].tolist() == [col(middle - 1), col(middle + 1)]
    everything = sum(size * cents for cents, size in asks.items())
    number = account.enter(YES, col(99), sum(asks.values()) * CONTRACT, kernel.IOC)
    assert account.field(number, kernel.NOTIONAL) == everything * 10_000


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda model: model.name)
def test_2_the_mirrored_market_mirrors_every_fill(model: FillModel) -> None:
    last = len(COARSE) - 1
    fills = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        tape = random_tape(rng)
        plan = random_plan(rng, tape, 0, 50)
        assumptions = Assumptions(model=model, fees=CHARGED.fees)
        there = Case(tape, plan, assumptions, Limits(), seed=seed).compiled()
        turned = [(at, what, of, 1 - side, last - c, *rest) for at, what, of, side, c, *rest in plan]
        back = Case(mirrored(tape), turned, assumptions, Limits(), seed=seed).compiled()  # type: ignore[arg-type]
        rows = there.log.copy()[0, : there.account[0, kernel.LOGGED]]
        rows[:, kernel.L_SIDE] = 1 - rows[:, kernel.L_SIDE]
        rows[:, kernel.L_COL] = last - rows[:, kernel.L_COL]
        assert rows.tolist() == back.log[0, : back.account[0, kernel.LOGGED]].tolist()
        money = [kernel.CASH, kernel.FEES, kernel.RESERVED]
        assert there.account[0, money].tolist() == back.account[0, money].tolist()
        assert there.account[0, kernel.POSITION] == -back.account[0, kernel.POSITION]
        fills += int(np.isin(rows[:, kernel.KIND], (kernel.TOOK, kernel.MADE)).sum())
    assert fills > 100


def test_5_an_order_of_a_hundred_against_one_fills_one() -> None:
    account = Compiled(book({40: 10}, {43: 1}), FREE)
    assert account.take(YES, col(43), 100 * CONTRACT) == CONTRACT
    assert account.position == CONTRACT


def test_5_sums_by_level_match_the_depth() -> None:
    account = Compiled(book({40: 10}, {50: 80, 51: 120, 52: 50}), FREE)
    assert account.take(YES, col(60), 400 * CONTRACT) == 250 * CONTRACT
    assert [(row[kernel.L_COL], row[kernel.L_SIZE]) for row in account.fills] == [
        (col(50), 80 * CONTRACT),
        (col(51), 120 * CONTRACT),
        (col(52), 50 * CONTRACT),
    ]


def test_250_contracts_cost_50_88_cents_each() -> None:
    """80 at 50c, 120 at 51c and 50 at 52c: the requirements' own example."""
    account = Compiled(book({40: 10}, {50: 80, 51: 120, 52: 50}), FREE)
    number = account.enter(YES, col(52), 250 * CONTRACT, kernel.IOC)
    assert account.filled(number) == 250 * CONTRACT
    assert account.field(number, kernel.NOTIONAL) * 100 == 5_088 * 250 * 10_000


def test_5_nothing_fills_twice_until_the_book_replenishes() -> None:
    ask, size = 5_700, 50 * CONTRACT
    changes = [(SECOND, YES, 4_000, 100, 0), (2 * SECOND, NO, ask, 3_000, 0), (60 * SECOND, YES, 4_000, 100, 0)]
    account = Compiled(tape_of([(4_000, 100)], [(ask, size)], changes), FREE)
    assert account.take(YES, col(43), 9_999) == size
    assert account.take(YES, col(43), 9_999) == 0
    account.run(2 * SECOND)
    assert account.take(YES, col(43), 9_999) == 3_000  # what it grew by, and no more
    assert account.take(YES, col(43), 9_999) == 0
    account.run(7 * SECOND - 1)
    assert account.take(YES, col(43), 9_999) == 0
    account.run(7 * SECOND)
    assert account.take(YES, col(43), 9_999) == size + 3_000


@pytest.mark.parametrize("value", [0, 3_700, DOLLAR])
@pytest.mark.parametrize("side", [YES, NO])
def test_7_holding_to_the_end_is_settled(side: int, value: int) -> None:
    account = Compiled(book({40: 50}, {43: 50}), CHARGED)
    account.take(side, col(43) if side == YES else col(40), 10 * CONTRACT)
    resting = account.enter(side, col(41), CONTRACT)
    cash = account.cash
    account.settle(value)
    assert account.cash - cash == 10 * CONTRACT * (value if side == YES else DOLLAR - value)
    assert account.position == 0
    assert account.field(resting, kernel.REASON) == kernel.SETTLED


def test_7_holding_to_the_end_is_marked_to_what_it_would_bring() -> None:
    account = Compiled(book({39: 30, 40: 5}, {43: 50}), CHARGED)
    account.take(YES, col(43), 10 * CONTRACT)
    schedule = CHARGED.fees
    fees = sum(schedule.trade_fee(Price(cents * 100), Size(5 * CONTRACT), taker=True) for cents in (39, 40))
    assert account.equity - account.cash == 5 * 400_000 + 5 * 390_000 - fees


def test_7_the_other_side_going_does_not_move_equity() -> None:
    changes = [(SECOND, YES, 3_000, 100, 0), (2 * SECOND, NO, 5_700, -5_000, 0), (3 * SECOND, YES, 3_000, 100, 0)]
    account = Compiled(tape_of([(4_000, 5_000)], [(5_700, 5_000)], changes), CHARGED)
    account.take(YES, col(43), CONTRACT)
    before = account.equity
    account.run(2 * SECOND)
    assert account.state.account[0, kernel.ASK] == len(CENTS)
    assert account.equity == before > account.cash


@pytest.mark.parametrize("cents", [29, 57, 58])
def test_14_prices_survive_from_text_to_fill(cents: int) -> None:
    """int(0.29 * 100) is 28; so for 57 and 58."""
    price = parse_price(f"0.{cents}")
    account = Compiled(book({cents - 1: 10}, {cents: 10}), FREE)
    cash = account.cash
    assert account.take(YES, CENTS.index(price), CONTRACT) == CONTRACT
    assert [CENTS.prices()[row[kernel.L_COL]] for row in account.fills] == [cents * 100]
    assert cash - account.cash == cents * 10_000
