"""What must hold of every simulated account, whatever it does: invariants 12 to 25, by their numbers."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator

import numpy as np
import pytest

from kflow.market.fees import OrderFees
from kflow.sim import kernel
from kflow.sim.accounts import market_of, new_accounts
from kflow.sim.fills import FillModel
from kflow.sim.kernel import AMENDED, AT, ENDED, KIND, L_COL, L_FEE, L_SIDE, L_SIZE, MADE, OF, SENT, TOOK
from kflow.sim.tape import Tape
from kflow.testing.cases import EVERY_MODEL, Case, Instruction, as_array, random_case
from kflow.testing.compiled import Compiled
from kflow.units import DOLLAR, Price, Size

SEEDS = range(40)
Row = tuple[int, ...]


def log_of(state: kernel.State) -> list[Row]:
    return [tuple(row) for row in state.log[0, : state.account[0, kernel.LOGGED]].tolist()]


@pytest.fixture(scope="module")
def played() -> list[tuple[Case, kernel.State, list[Row]]]:
    cases = [random_case(seed, model) for seed in SEEDS for model in EVERY_MODEL]
    states = [case.compiled() for case in cases]
    return [(case, state, log_of(state)) for case, state in zip(cases, states, strict=True)]


Played = list[tuple[Case, kernel.State, list[Row]]]


def fills(log: list[Row]) -> Iterator[Row]:
    return (row for row in log if row[KIND] in (TOOK, MADE))


def better(side: int, one: int, other: int) -> bool:
    """Whether a column is dearer for who buys this side: nearer to the other side."""
    return one > other if side == 0 else one < other


class Shown:
    """The book of a stretch after each µs, told from the tape alone."""

    def __init__(self, tape: Tape, stretch: int) -> None:
        arrays = tape.arrays
        first, behind = arrays.bounds[stretch]
        book = arrays.books[int(np.searchsorted(arrays.keys, first))].astype(np.int64)
        self.us, self.books = [0], [book.copy()]
        for event in range(first, behind):
            code, change = int(arrays.code[event]), int(arrays.size[event])
            if code & 3 != kernel.PRINT:
                book[code >> 2 & 1, arrays.col[event]] += change if code & 3 == kernel.ADD else -change
            if code & 8:
                self.us.append(int(arrays.us[event]))
                self.books.append(book.copy())

    def at(self, us: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        return self.books[bisect_right(self.us, us) - 1]


def test_12_no_order_is_filled_beyond_what_was_asked(played: Played) -> None:
    """Asked: the size sent; where it was amended, what was filled until then and the new size."""
    checked = 0
    for _, _, log in played:
        asked: dict[int, int] = {}
        filled: Counter[int] = Counter()
        for row in log:
            if row[KIND] == SENT:
                asked[row[OF]] = row[L_SIZE]
            elif row[KIND] == AMENDED:
                asked[row[OF]] = filled[row[OF]] + row[L_SIZE]
            elif row[KIND] in (TOOK, MADE):
                assert row[L_SIZE] > 0
                filled[row[OF]] += row[L_SIZE]
                assert filled[row[OF]] <= asked[row[OF]]
                checked += 1
    assert checked > 1_000


def test_13_a_level_gives_no_more_than_it_shows(played: Played) -> None:
    """All takers of one moment together. Over 5 s: invariant 20, and lesson 5."""
    for case, _, log in played:
        shown = Shown(case.tape, case.stretch)
        took: dict[tuple[int, int, int], int] = defaultdict(int)
        for row in log:
            if row[KIND] == TOOK:
                moment = (row[AT], 1 - row[L_SIDE], row[L_COL])
                took[moment] += row[L_SIZE]
                assert took[moment] <= shown.at(row[AT])[1 - row[L_SIDE], row[L_COL]]


def test_14_takers_pay_the_touch_at_best_and_16_nobody_more_than_the_limit(played: Played) -> None:
    """Each fill within the bounds, so their mean is. A maker's price is the order's own."""
    for case, _, log in played:
        shown = Shown(case.tape, case.stretch)
        limit: dict[int, int] = {}
        for row in log:
            if row[KIND] in (SENT, AMENDED):
                limit[row[OF]] = row[L_COL]
            elif row[KIND] in (TOOK, MADE):
                side, col = row[L_SIDE], row[L_COL]
                assert not better(side, col, limit[row[OF]])
                if row[KIND] == TOOK:
                    other = np.flatnonzero(shown.at(row[AT])[1 - side])
                    assert not better(side, int(other[0] if side == 0 else other[-1]), col)


def test_18_accounts_of_a_batch_do_not_know_each_other(played: Played) -> None:
    """Three plans in one batch give what each gives alone."""
    for case, _, _ in played[:60]:
        plans = [case.plan, case.plan[::2], case.plan[5:40]]
        together = _batch(case, plans)
        for number, plan in enumerate(plans):
            alone = _batch(case, [plan], first=number)
            for many, one in zip(together, alone, strict=True):
                assert np.array_equal(many[number], one[0])


def _batch(case: Case, plans: list[list[Instruction]], first: int = 0) -> kernel.State:
    count = len(plans)
    ends = np.cumsum([len(plan) for plan in plans])
    spans = np.stack([ends - [len(plan) for plan in plans], ends], axis=1).astype(np.int64)
    state = new_accounts(count, case.tape.columns, case.limits, seed=case.seed, log=256, first=first)
    market = market_of(case.tape)
    kernel.seat_all(state, market, np.full(count, case.stretch), np.full(count, case.start_us))
    rows = np.concatenate([as_array(plan) for plan in plans])
    kernel.play(state, market, case.assumptions.rules(), rows, spans, np.full(count, case.stop_us))
    return state


@pytest.mark.parametrize("value", [0, 6_300, DOLLAR])
def test_22_money_is_conserved_to_the_micro_dollar(played: Played, value: int) -> None:
    """Cash is what there was, less prices and fees, and a dollar for each pair; then what the settlement pays."""
    prices_of = {id(case): case.tape.arrays.price.tolist() for case, _, _ in played}
    for case, state, log in played:
        prices = prices_of[id(case)]
        bought, paid, fees = [0, 0], 0, 0
        for row in fills(log):
            price = prices[row[L_COL]]
            bought[row[L_SIDE]] += row[L_SIZE]
            paid += row[L_SIZE] * (price if row[L_SIDE] == 0 else DOLLAR - price)
            fees += row[L_FEE]
        cash, position = state.account[0, [kernel.CASH, kernel.POSITION]].tolist()
        assert fees == state.account[0, kernel.FEES]
        assert position == bought[0] - bought[1]
        assert cash == case.limits.cash - paid - fees + min(bought) * DOLLAR
        end = kernel.State(*(array.copy() for array in state))
        kernel.settle(end, 0, value)
        owed = bought[0] * value + bought[1] * (DOLLAR - value)
        assert end.account[0, kernel.CASH] == case.limits.cash - paid - fees + owed


def test_23_the_sum_of_an_orders_fills_is_what_it_lost_and_paid(played: Played) -> None:
    for case, state, log in played:
        prices = case.tape.arrays.price.tolist()
        size: Counter[int] = Counter()
        notional: Counter[int] = Counter()
        fee: Counter[int] = Counter()
        for row in fills(log):
            price = prices[row[L_COL]]
            size[row[OF]] += row[L_SIZE]
            notional[row[OF]] += row[L_SIZE] * (price if row[L_SIDE] == 0 else DOLLAR - price)
            fee[row[OF]] += row[L_FEE]
        assert sum(size.values()) == state.account[0, kernel.VOLUME]
        for order in state.orders[0]:
            if order[kernel.STATUS] != kernel.FREE:
                number = int(order[kernel.ID])
                assert (notional[number], fee[number]) == (order[kernel.NOTIONAL], order[kernel.FEE])


@pytest.mark.parametrize("model", EVERY_MODEL, ids=lambda model: f"{model.name}-{model.ahead}")
def test_24_cash_and_limits_hold_at_every_step(model: FillModel) -> None:
    """The worst case of a position is that it pays nothing, so cash never below 0 is loss never above cash."""
    for seed in range(12):
        case = random_case(seed, model)
        account = Compiled(case.tape, case.assumptions, case.limits, seed=seed)
        account.seat(case.stretch, case.start_us)
        for instruction in case.plan:
            account.instruct(instruction)
            cash, reserved = account.state.account[0, [kernel.CASH, kernel.RESERVED]].tolist()
            assert 0 <= reserved <= cash
            assert abs(account.position) <= case.limits.max_position
            orders = account.state.orders[0]
            assert reserved == orders[:, kernel.RESERVE].sum()
            assert (orders[:, [kernel.RESERVE, kernel.LEFT, kernel.OPEN, kernel.AHEAD]] >= 0).all()


def test_25_fees_are_the_venues_with_what_rounding_carries(played: Played) -> None:
    charged = Counter[bool]()
    for case, _, log in played:
        prices = case.tape.arrays.price.tolist()
        accounts: dict[int, OrderFees] = defaultdict(case.assumptions.fees.order)
        for row in fills(log):
            price = prices[row[L_COL]]
            own = Price(price if row[L_SIDE] == 0 else DOLLAR - price)
            fee = accounts[row[OF]].fill(own, Size(row[L_SIZE]), buy=True, taker=row[KIND] == TOOK)
            assert row[L_FEE] == fee.total
            charged[row[KIND] == TOOK] += fee.total > 0
    assert min(charged.values()) > 200


def test_an_order_ends_once_and_is_not_heard_of_again(played: Played) -> None:
    for _, _, log in played:
        ended: set[int] = set()
        for row in log:
            assert row[OF] not in ended
            if row[KIND] == ENDED:
                ended.add(row[OF])
