"""Orders that were really sent, simulated where they were: what each would have got, beside what it got."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from kflow.sim import kernel
from kflow.sim.accounts import market_of, new_accounts, one_order_each
from kflow.sim.fills import Assumptions
from kflow.sim.study import BATCH, ENOUGH
from kflow.sim.tape import Tape
from kflow.units import DOLLAR

I64 = kernel.I64


class Given(NamedTuple):
    """An order as it was sent. Sizes 1e-2 contract, `price` of its own side; None: not told."""

    order: str
    market: str
    us: int
    side: int
    price: int
    size: int
    cancelled_us: int | None = None
    immediate: bool = False
    filled: int | None = None  # what it really got
    filled_us: int | None = None  # when it was filled whole


class Answer(NamedTuple):
    """What the simulator says of one. Money 1e-6 dollar; times µs after it was sent."""

    order: str
    market: str
    known: bool  # whether the recording holds its market at its time, and its price is on the grid
    filled: int
    cost: int
    fees: int
    full_us: int | None
    followed_us: int  # how long


def simulate_given(
    tapes: Sequence[Tape],
    orders: Sequence[Given],
    assumptions: Callable[[Tape], Assumptions],
    *,
    horizon_us: int,
    seed: int = 0,
) -> list[Answer]:
    """Each order in an account of its own, until it is cancelled or for `horizon_us`; answers in their order."""
    answers = {number: _unknown(order) for number, order in enumerate(orders)}
    by_market: dict[str, list[int]] = defaultdict(list)
    for number, order in enumerate(orders):
        by_market[order.market].append(number)
    for tape in tapes:
        column = {int(price): place for place, price in enumerate(tape.arrays.price)}
        for stretch in range(tape.stretches):
            begins, ends = tape.span_us(stretch)
            mine = [
                number
                for number in by_market.get(tape.market, ())
                if begins <= orders[number].us < ends and _yes(orders[number]) in column
            ]
            for at in range(0, len(mine), BATCH):
                part = mine[at : at + BATCH]
                sent = [orders[number] for number in part]
                rules = assumptions(tape).rules()
                found = _played(tape, stretch, sent, column, rules, horizon_us, seed=seed, first=part[0])
                answers.update(zip(part, found, strict=True))
    return [answers[number] for number in range(len(orders))]


def _yes(order: Given) -> int:
    return DOLLAR - order.price if order.side else order.price


def _unknown(order: Given) -> Answer:
    return Answer(order.order, order.market, known=False, filled=0, cost=0, fees=0, full_us=None, followed_us=0)


def _played(
    tape: Tape,
    stretch: int,
    orders: Sequence[Given],
    column: dict[int, int],
    rules: kernel.Rules,
    horizon_us: int,
    *,
    seed: int,
    first: int,
) -> list[Answer]:
    starts = np.array([order.us for order in orders], np.int64)
    until = [order.us + horizon_us if order.cancelled_us is None else order.cancelled_us for order in orders]
    stops = np.minimum(np.array(until, np.int64), tape.span_us(stretch)[1])
    state = new_accounts(len(orders), tape.columns, ENOUGH, seed=seed, log=1, first=first)
    market = market_of(tape)
    kernel.seat_all(state, market, np.full(len(orders), stretch, np.int64), starts)
    what, spans = one_order_each(
        starts,
        [order.side for order in orders],
        [order.size for order in orders],
        column=[column[_yes(order)] for order in orders],
        flags=[kernel.IOC if order.immediate else 0 for order in orders],
    )
    kernel.play(state, market, rules, what, spans, stops)
    rows = state.orders[:, 0].tolist()
    return [_answer(order, row, int(stop)) for order, row, stop in zip(orders, rows, stops, strict=True)]


def _answer(order: Given, row: list[int], stop_us: int) -> Answer:
    full = row[kernel.REASON] == kernel.FILLED
    return Answer(
        order.order,
        order.market,
        known=True,
        filled=order.size - row[kernel.LEFT],
        cost=row[kernel.NOTIONAL],
        fees=row[kernel.FEE],
        full_us=row[kernel.LAST] - order.us if full else None,
        followed_us=stop_us - order.us,
    )


def compared(orders: Sequence[Given], answers: Sequence[Answer]) -> dict[str, Any]:
    """The answers in sum, beside what the orders really got where that is told. Shares in [0, 1]; None: nothing tells.

    Both are looked at up to when an order was followed no longer: what happened afterwards no answer can tell. One that
    was filled whole nobody knows when is left out where it was not followed to its own end.
    brier: mean square of filled whole said less filled whole; 0 is perfect.
    """
    pairs = [(order, answer) for order, answer in zip(orders, answers, strict=True) if answer.known]
    told = [(order, answer, whole) for order, answer in pairs if (whole := _really_whole(order, answer)) is not None]
    asked = sum(order.size for order, _ in pairs)
    said = np.array([answer.filled >= order.size for order, answer, _ in told], np.float64)
    real = np.array([whole for *_, whole in told], np.float64)
    both = [
        (answer.full_us - (order.filled_us - order.us)) / 1e6
        for order, answer, whole in told
        if whole and answer.full_us is not None and order.filled_us is not None
    ]
    return {
        "orders": len(orders),
        "known": len(pairs),
        "filled_share": sum(answer.filled for _, answer in pairs) / asked if asked else None,
        "filled_whole": _mean([answer.filled >= order.size for order, answer in pairs]),
        "told": len(told),
        "said_whole": _mean(list(said)),
        "really_whole": _mean(list(real)),
        "brier": _mean(list((said - real) ** 2)),
        "missed": _mean(list((real == 1) & (said == 0))),
        "invented": _mean(list((real == 0) & (said == 1))),
        "time_error_s": _mean([abs(apart) for apart in both]),
    }


def _really_whole(order: Given, answer: Answer) -> bool | None:
    """Whether an order was filled whole while its answer was followed; None where that is not told."""
    if order.filled is None:
        return None
    if order.filled < order.size:
        return False
    if order.filled_us is not None:
        return order.filled_us - order.us <= answer.followed_us
    own_end = order.cancelled_us is not None and order.cancelled_us - order.us <= answer.followed_us
    return True if own_end else None


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None
