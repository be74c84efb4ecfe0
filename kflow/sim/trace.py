"""The life of one order of a study, event by event."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from kflow.errors import UsageError
from kflow.sim import kernel
from kflow.sim.accounts import market_of, new_accounts
from kflow.sim.fills import Assumptions
from kflow.sim.orders import Moment, moment
from kflow.sim.study import ENOUGH, Plan, batches, instructions
from kflow.sim.tape import Tape
from kflow.units import DOLLAR


class Life(NamedTuple):
    """An order and all that happened to it."""

    market: str
    number: int
    sent_us: int
    side: int
    size: int
    best_bid: int  # YES prices when it was sent; 0 and $1 where nobody quotes
    best_ask: int
    moments: list[Moment]
    until_us: int  # how far it was followed


def trace(
    tapes: Sequence[Tape],
    plan: Plan,
    assumptions: Callable[[Tape], Assumptions],
    number: int,
    *,
    seed: int = 0,
) -> Life:
    """Play order `number` of a study again and keep all it lived through. Raises UsageError where there is none."""
    at = 0
    for tape in tapes:
        for stretch in range(tape.stretches):
            for starts, sides in batches(*tape.span_us(stretch), plan):
                if 0 <= number < at + len(starts):
                    place = slice(number - at, number - at + 1)
                    return _life(tape, stretch, plan, assumptions(tape), starts[place], sides[place], number, seed)
                at += len(starts)
    raise UsageError(f"there is no order {number}: the study sends {at:,}", hint="orders are numbered from 0")


def _life(
    tape: Tape,
    stretch: int,
    plan: Plan,
    assumptions: Assumptions,
    starts: kernel.I64,
    sides: kernel.I64,
    number: int,
    seed: int,
) -> Life:
    rules, market = assumptions.rules(verbose=True), market_of(tape)
    stop = min(int(starts[0]) + plan.horizon_us, tape.span_us(stretch)[1])
    rows = 256
    while True:
        state = new_accounts(1, tape.columns, ENOUGH, seed=seed, log=rows, first=number)
        kernel.seat_all(state, market, np.array([stretch]), starts)
        bid, ask = (int(column) for column in state.account[0, [kernel.BID, kernel.ASK]])
        kernel.play(state, market, rules, *instructions(starts, sides, plan, tape), np.array([stop]))
        logged = int(state.account[0, kernel.LOGGED])
        if logged <= rows:
            break
        rows = logged
    prices, side = [int(price) for price in tape.arrays.price], int(sides[0])
    moments = [moment(row, prices) for row in state.log[0, :logged].tolist()]
    best = prices[bid] if bid >= 0 else 0, prices[ask] if ask < len(prices) else DOLLAR
    return Life(tape.market, number, int(starts[0]), side, int(plan.size), *best, moments, stop)
