"""The scalar face: one account as an object, the same bytes as in a batch."""

from __future__ import annotations

import numpy as np
import pytest

from kflow.errors import UsageError
from kflow.market.events import Side
from kflow.sim import kernel
from kflow.sim.accounts import Limits, market_of, new_accounts
from kflow.sim.fills import HOME, MODELS, NO_LATENCY, Assumptions
from kflow.sim.orders import SimulatedOrderManager, moment
from kflow.testing.cases import SCHEDULES, Instruction, as_array, random_plan
from kflow.testing.tapes import frozen, random_tape
from kflow.units import DOLLAR, Price, Size

ASSUMED = Assumptions(latency=NO_LATENCY, fees=SCHEDULES[0])
SECOND = 1_000_000


def manager(limits: Limits | None = None) -> SimulatedOrderManager:
    """A book of 40 bid for YES and 50 asked, 80 contracts at 50, 120 at 51, 50 at 52 cents."""
    tape = frozen([(4000, 9000)], [(5000, 8_000), (4900, 12_000), (4800, 5_000)])
    return SimulatedOrderManager(tape, ASSUMED, limits)


def test_an_order_tells_its_life() -> None:
    account = manager()
    order = account.place(Side.YES, Price(5200), Size(25_000))
    heard = account.advance(account.now_us)
    assert [(one.order, one.kind, one.price, one.size) for one in heard] == [
        (order, "sent", 5200, 25_000),
        (order, "took", 5000, 8_000),
        (order, "took", 5100, 12_000),
        (order, "took", 5200, 5_000),
        (order, "ended", 5200, 0),
    ]
    assert heard[-1].reason == "filled"
    assert account.position == 25_000
    assert account.cash == 10_000 * 1_000_000 - 80 * 500_000 - 120 * 510_000 - 50 * 520_000 - account.fees


def test_what_was_heard_is_not_told_again() -> None:
    account = manager()
    account.place(Side.NO, Price(4000), Size(1_000))
    assert [one.kind for one in account.advance(account.now_us)] == ["sent", "rests"]
    assert account.advance(account.now_us + SECOND) == []
    assert account.resting == 1


def test_cancelling_and_amending() -> None:
    account = manager()
    order = account.place(Side.YES, Price(4000), Size(1_000))
    account.advance(account.now_us)
    account.amend(order, Price(4100), Size(500))
    assert [one.kind for one in account.advance(account.now_us)] == ["amended", "rests"]
    account.cancel(order)
    assert account.advance(account.now_us)[-1].reason == "cancelled"
    account.cancel(order)  # over: nothing happens
    assert account.advance(account.now_us) == []
    assert account.reserved == 0


def test_a_log_that_is_too_short_grows() -> None:
    account = manager(Limits(orders=100))
    for _ in range(100):
        account.place(Side.YES, Price(100), Size(100))
    assert len(account.advance(account.now_us)) == 200


def test_prices_off_the_grid_and_too_many_orders_are_refused() -> None:
    account = manager(Limits(orders=1))
    with pytest.raises(UsageError, match=r"0\.4050 is not on the grid"):
        account.place(Side.YES, Price(4050), Size(100))
    account.place(Side.YES, Price(4000), Size(100))
    with pytest.raises(UsageError, match="1 orders are open"):
        account.place(Side.YES, Price(4000), Size(100))


def test_the_book_is_shown_best_first() -> None:
    account = manager()
    assert account.levels(Side.YES) == [(4000, 9000)]
    assert account.levels(Side.NO) == [(5000, 8_000), (4900, 12_000), (4800, 5_000)]


def test_a_settlement_pays() -> None:
    account = manager()
    account.place(Side.YES, Price(5000), Size(1_000))
    account.advance(account.now_us)
    before = account.cash
    account.settle(DOLLAR)
    assert account.cash == before + 10 * 1_000_000


@pytest.mark.parametrize("model", MODELS.values(), ids=list(MODELS))
@pytest.mark.parametrize("latency", [NO_LATENCY, HOME], ids=["none", "home"])
def test_alone_and_in_a_batch_an_account_has_the_same_bytes(model: object, latency: object) -> None:
    rng = np.random.default_rng(7)
    tape = random_tape(rng)
    assumed = Assumptions(model=model, latency=latency, fees=SCHEDULES[0])  # type: ignore[arg-type]
    plans = [[step for step in random_plan(rng, tape, 0, 40) if 0 <= step[4] < tape.columns] for _ in range(5)]
    stop = tape.span_us(0)[1]
    limits = Limits(orders=64)
    batch = new_accounts(5, tape.columns, limits, seed=3, log=4096)
    market, rules = market_of(tape), assumed.rules()
    kernel.seat_all(batch, market, np.zeros(5, np.int64), np.full(5, tape.span_us(0)[0]))
    ends = np.cumsum([0, *map(len, plans)])
    steps = as_array([step for plan in plans for step in plan])
    kernel.play(batch, market, rules, steps, np.stack([ends[:-1], ends[1:]], 1), np.full(5, stop))
    for account in range(5):
        kernel.run(batch, market, rules, account, stop)
    prices = [int(price) for price in tape.arrays.price]
    for number, plan in enumerate(plans):
        alone = SimulatedOrderManager(tape, assumed, limits, seed=3, number=number)
        heard = [one for step in plan for one in carry_out(alone, step)] + alone.advance(stop)
        logged = int(batch.account[number, kernel.LOGGED])
        assert heard == [moment(row, prices) for row in batch.log[number, :logged].tolist()]
        assert (alone.cash, alone.position, alone.fees, alone.reserved) == tuple(
            batch.account[number, [kernel.CASH, kernel.POSITION, kernel.FEES, kernel.RESERVED]]
        )


def carry_out(account: SimulatedOrderManager, step: Instruction) -> list[object]:
    at, kind, of, side, column, size, flags, ttl = step
    heard: list[object] = list(account.advance(at))
    yes = Price(int(account.tape.arrays.price[column]))
    price = Price(DOLLAR - yes) if side else yes
    if kind == kernel.PLACE:
        account.place(
            Side(side),
            price,
            Size(size),
            immediate=bool(flags & kernel.IOC),
            post_only=bool(flags & kernel.POST_ONLY),
            reduce_only=bool(flags & kernel.REDUCE_ONLY),
            ttl_us=ttl,
        )
    elif kind == kernel.CANCEL_ORDER:
        account.cancel(of)
    elif kind == kernel.AMEND_ORDER:
        slot = [order for order in range(64) if account._slot(of) == order]
        own = int(account._state.orders[0, slot[0], kernel.SIDE]) if slot else 0
        account.amend(of, Price(DOLLAR - yes) if own else yes, Size(size))
    else:
        account.cancel_all()
    return heard
