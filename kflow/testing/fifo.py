"""One price level, order by order: exactly when an order at its back is filled, and what a level-2 feed shows of it.

An order of 20 contracts joins behind 1,500 (thin: 150), themselves orders. Adds join the back, takers eat from the
front, cancellations take out whole orders: any of them with equal chances, or rather those at the back, or at the
front. All come as Poisson flows, whole contracts, sizes geometric. Our order moves nobody: takers take from the others
as if it were not there. So the feed is without it, and its truth is exact: what takers want beyond what is ahead of it.

The five cases and the shares filled that they aim at are known (market facts, section 6); rates, sizes and horizon are
not published. Those below are ours, found by trial so that the shares come out within .03.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kflow.market.events import Level
from kflow.market.fees import FeeSchedule
from kflow.market.grid import Grid
from kflow.sim import kernel
from kflow.sim.accounts import Limits, market_of, new_accounts, one_order_each
from kflow.sim.fills import NO_LATENCY, Assumptions, FillModel
from kflow.sim.tape import ADD, CANCEL, PRINT, TRADE, Stretch, Tape, compile_tape
from kflow.units import CONTRACT, Money, Price, Size

I64 = NDArray[np.int64]

OWN: Final = 20  # contracts of our order
PRICE: Final = Price(5000)
_FAR: Final[Level] = (Price(4000), Size(1000 * CONTRACT))  # NO bid: an ask of 60 cents that stays
_START_US: Final = 1_000_000_000
# Columns of events.
US, KIND, SIZE = range(3)


@dataclass(frozen=True, slots=True)
class Probes:
    """Orders on one tape whose fate is known. All [N]; times in µs, sizes 1e-2 contracts."""

    tape: Tape
    start_us: I64  # when an order joins its level
    until_us: I64  # how long it stays
    side: I64
    col: I64
    size: I64
    filled_us: I64  # when it was filled in full; -1 if it was not

    def predicted(self, model: FillModel, *, batch: int = 4000) -> I64:
        """When the kernel fills each, every order alone in an account of its own; -1 where it does not."""
        rules = Assumptions(model=model, latency=NO_LATENCY, fees=FeeSchedule.parse("quadratic", 1)).rules()
        market = market_of(self.tape)
        parts = [slice(first, first + batch) for first in range(0, len(self.start_us), batch)]
        return np.concatenate([self._played(part, market, rules) for part in parts])

    def wait_s(self, filled_us: I64) -> NDArray[np.float64]:
        """[N] Seconds to the fill, or for as long as an order stays."""
        return (np.where(filled_us >= 0, filled_us, self.until_us) - self.start_us) / 1e6

    def errors_s(self, model: FillModel) -> NDArray[np.float64]:
        """[N] By how much the kernel is wrong about that."""
        return np.abs(self.wait_s(self.predicted(model)) - self.wait_s(self.filled_us))

    def _played(self, part: slice, market: kernel.Market, rules: kernel.Rules) -> I64:
        start_us, count = self.start_us[part], len(self.start_us[part])
        limits = Limits(cash=Money(10**12), orders=1)
        state = new_accounts(count, self.tape.columns, limits, first=part.start, log=1)
        kernel.seat_all(state, market, np.zeros(count, np.int64), start_us)
        what, spans = one_order_each(start_us, self.side[part], self.size[part], column=self.col[part])
        kernel.play(state, market, rules, what, spans, self.until_us[part])
        order = state.orders[:, 0]
        return np.where(order[:, kernel.REASON] == kernel.FILLED, order[:, kernel.LAST], -1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Flows of a level, and the share filled that is known of it. Rates per second, sizes in contracts."""

    truth: float
    ahead: int
    adds: float
    takes: float
    cancels: float
    order: float  # mean size of an order
    take: float  # mean size of a taker's
    # Of so many orders drawn with equal chances the rearmost leaves; below 0: of -draws the foremost.
    draws: int
    horizon_s: float


def _case(truth: float, draws: int) -> Case:
    return Case(
        truth=truth, ahead=1500, adds=1.85, takes=1.07, cancels=1.2, order=25, take=15, draws=draws, horizon_s=60
    )


def _thin(truth: float, draws: int) -> Case:
    return Case(
        truth=truth, ahead=150, adds=0.34, takes=0.098, cancels=0.34, order=10, take=20, draws=draws, horizon_s=60
    )


CASES: Final[Mapping[str, Case]] = {
    "uniform": _case(0.726, 1),
    "cancels at back": _case(0.086, 4),
    "cancels at front": _case(0.989, -4),
    "thin uniform": _thin(0.587, 1),
    "thin back": _thin(0.430, 4),
}


@dataclass(frozen=True, slots=True)
class Paths:
    """Many plays, one behind the other in one feed. Sizes of `events` in contracts, all times in µs."""

    case: Case
    events: I64  # [E, 3] µs, kind as in `tape`, size; each play begins with the level put to `ahead`
    start_us: I64  # [N] when our order joins
    filled_us: I64  # [N] when it is filled in full; -1 if not within the horizon

    @property
    def until_us(self) -> I64:
        """[N] the horizon's end."""
        return self.start_us + round(self.case.horizon_s * 1e6)

    @property
    def filled(self) -> NDArray[np.bool_]:
        """[N]"""
        return self.filled_us >= 0

    def stretch(self) -> Stretch:
        """The feed, our order not in it, beside an ask that stays."""
        kind = self.events[:, KIND]
        delta = kind != PRINT
        us, size = self.events[:, US], self.events[:, SIZE] * CONTRACT
        place, prints = np.cumsum(delta)[~delta], us[~delta]
        zeros, price = np.zeros_like(prints), np.full_like(prints, PRICE)
        return Stretch(
            start=([(PRICE, Size(self.case.ahead * CONTRACT))], [_FAR]),
            us=us[delta],
            side=np.zeros(int(delta.sum()), np.int8),
            price=np.full(int(delta.sum()), PRICE, np.int32),
            change=np.where(kind == ADD, size, -size)[delta],
            traded=np.where(kind == TRADE, size, 0)[delta],
            prints=np.stack([place, prints, zeros, price, size[~delta]], axis=1),
            ends="the recording's end",
        )

    def probes(self) -> Probes:
        tape = compile_tape("FIFO", [self.stretch()], Grid.named("linear_cent"), {})
        count = len(self.start_us)
        side, size = np.zeros(count, np.int64), np.full(count, OWN * CONTRACT, np.int64)
        col = np.full(count, Grid.named("linear_cent").index(PRICE), np.int64)
        return Probes(tape, self.start_us, self.until_us, side, col, size, self.filled_us)


def play(case: Case, count: int, seed: int | Sequence[int]) -> Paths:
    """`count` independent plays."""
    rates, means = np.array([case.adds, case.takes, case.cancels]), np.array([case.order, case.take])
    rng = np.random.default_rng(seed)
    horizon_us = round(case.horizon_s * 1e6)
    start_us = _START_US + np.arange(count, dtype=np.int64) * (horizon_us + 1_000_000)
    events, filled_us = _plays(rng, case.ahead, OWN, rates, means, case.draws, start_us, horizon_us)
    return Paths(case, events, start_us, filled_us)


class Queue:
    """A level by hand, for tests: the same steps that `play` takes."""

    def __init__(self, ahead: Sequence[int], own: int = OWN) -> None:
        self._orders = np.zeros(1024, np.int64)
        self._orders[: len(ahead)] = ahead
        self._state = np.array([len(ahead), len(ahead), sum(ahead), own], np.int64)

    @property
    def orders(self) -> list[int]:
        """Sizes of the others' orders, earliest first."""
        return [int(size) for size in self._orders[: self._state[_COUNT]]]

    @property
    def left(self) -> int:
        """What our order still wants."""
        return int(self._state[_LEFT])

    def add(self, size: int) -> None:
        _add(self._orders, self._state, size)

    def cancel(self, place: int) -> int:
        """The order at a place, 0 the foremost, leaves; its size."""
        return int(_cancel(self._orders, self._state, place))

    def take(self, size: int) -> int:
        """What the taker got of the others."""
        return int(_take(self._orders, self._state, size))


# Orders that a level may hold: with the rates below it never comes near.
_MOST_ORDERS: Final = 65_536
# Of a level: how many orders, how many of them ahead of ours, contracts of all, what ours still wants.
_COUNT, _BEFORE, _TOTAL, _LEFT = range(4)


@njit(cache=True)
def _add(orders, state, size):  # type: ignore[no-untyped-def]
    orders[state[_COUNT]] = size
    state[_COUNT] += 1
    state[_TOTAL] += size


@njit(cache=True)
def _cancel(orders, state, place):  # type: ignore[no-untyped-def]
    size = orders[place]
    state[_COUNT] -= 1
    state[_TOTAL] -= size
    for other in range(place, state[_COUNT]):
        orders[other] = orders[other + 1]
    if place < state[_BEFORE]:
        state[_BEFORE] -= 1
    return size


@njit(cache=True)
def _take(orders, state, size):  # type: ignore[no-untyped-def]
    """Others lose what is taken as if we were not there; ours gets what is wanted beyond what is ahead of it."""
    ahead = 0
    for place in range(state[_BEFORE]):
        ahead += orders[place]
    state[_LEFT] -= min(max(size - ahead, 0), state[_LEFT])
    left = min(size, state[_TOTAL])
    state[_TOTAL] -= left
    taken, gone = left, 0
    while left > 0:
        eaten = min(left, orders[gone])
        orders[gone] -= eaten
        left -= eaten
        gone += orders[gone] == 0
    for place in range(gone, state[_COUNT]):
        orders[place - gone] = orders[place]
    state[_COUNT] -= gone
    state[_BEFORE] = max(state[_BEFORE] - gone, 0)
    return taken


@njit(cache=True)
def _pick(rng, count, draws):  # type: ignore[no-untyped-def]
    """Place of the order that leaves."""
    picked = np.int64(rng.random() * count)
    for _ in range(1, abs(draws)):
        other = np.int64(rng.random() * count)
        picked = max(picked, other) if draws > 0 else min(picked, other)
    return picked


@njit(cache=True)
def _size(rng, mean):  # type: ignore[no-untyped-def]
    """Geometric, 1 at least."""
    return 1 + np.int64(np.log(1.0 - rng.random()) / np.log(1.0 - 1.0 / mean)) if mean > 1.0 else np.int64(1)


@njit(cache=True)
def _noted(events, count, us, kind, size):  # type: ignore[no-untyped-def]
    """Append an event: the array, made longer if it has to be, and how many it holds."""
    if count == len(events):
        longer = np.zeros((2 * count, 3), np.int64)
        longer[:count] = events
        events = longer
    events[count] = us, kind, size
    return events, count + 1


@njit(cache=True)
def _happen(rng, orders, state, rates, means, draws):  # type: ignore[no-untyped-def]
    """The next thing that happens: its kind, how much it changes the level, what a taker wanted beyond that."""
    draw = rng.random() * rates.sum()
    if draw < rates[0]:
        size = _size(rng, means[0])
        _add(orders, state, size)
        return ADD, size, 0
    if draw < rates[0] + rates[1]:
        wanted = _size(rng, means[1])
        size = _take(orders, state, wanted)
        return TRADE, size, wanted - size
    if state[_COUNT] == 0:
        return CANCEL, 0, 0
    return CANCEL, _cancel(orders, state, _pick(rng, state[_COUNT], draws)), 0


@njit(cache=True)
def _plays(rng, ahead, own, rates, means, draws, start_us, horizon_us):  # type: ignore[no-untyped-def]
    """Events of all plays, and when each order of ours was filled."""
    events, count = np.zeros((1024, 3), np.int64), 0
    filled_us = np.full(len(start_us), -1, np.int64)
    orders, state = np.zeros(_MOST_ORDERS, np.int64), np.zeros(4, np.int64)
    state[_TOTAL] = ahead
    for path in range(len(start_us)):
        us = start_us[path]
        change = ahead - state[_TOTAL]
        if change:
            events, count = _noted(events, count, us, ADD if change > 0 else CANCEL, abs(change))
        state[:] = 0
        state[_LEFT] = own
        while state[_TOTAL] < ahead:
            _add(orders, state, min(_size(rng, means[0]), ahead - state[_TOTAL]))
        state[_BEFORE] = state[_COUNT]
        while True:
            us += 1 + np.int64(-np.log(1.0 - rng.random()) / rates.sum() * 1e6)
            if us > start_us[path] + horizon_us:
                break
            kind, size, beyond = _happen(rng, orders, state, rates, means, draws)
            if size:
                events, count = _noted(events, count, us, kind, size)
            if beyond:
                events, count = _noted(events, count, us, PRINT, beyond)
            if state[_LEFT] == 0 and filled_us[path] < 0:
                filled_us[path] = us
    return events[:count], filled_us
