"""What an order would have got: the same order at many moments of a tape, each in an account of its own.

Orders are sent at equal intervals of the venue's time, where both sides of the book quote. Each is followed to the
longest horizon or to the end of its stretch; it counts at a horizon only if its stretch lasts that long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kflow.errors import UsageError
from kflow.sim import kernel
from kflow.sim.accounts import Limits, market_of, market_on, new_accounts, one_order_each
from kflow.sim.fills import Assumptions
from kflow.sim.tape import Tape, on_grid
from kflow.units import DOLLAR, Money, Price, Size, format_price

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

# Accounts that are played together: their books have to fit a cache.
BATCH: Final = 2048
# Within which orders are taken together, of all markets: strikes of one event move as one, and so do hours of a day.
BLOCK_US: Final = 3_600_000_000
# A study of more orders than this is a slip of the finger.
MOST: Final = 5_000_000
# Times at which a fill is looked at again, s.
MARKOUTS: Final = (1, 10, 60)
ENOUGH: Final = Limits(
    cash=Money(10**15), max_position=Size(2**40), max_order=Size(2**40), orders=1
)  # a study asks what is filled, not what can be paid

Where = Literal["join", "improve", "cross", "sweep"]
_RULES: Final[dict[Where, int]] = {
    "join": kernel.JOIN,
    "improve": kernel.IMPROVE,
    "cross": kernel.CROSS,
    "sweep": kernel.SWEEP,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One kind of order. `price`: a YES price instead of a place in the book. Sides: 0 buys YES, 1 buys NO."""

    size: Size
    where: Where = "join"
    price: Price | None = None
    sides: tuple[int, ...] = (0, 1)
    horizon_us: int = 60_000_000
    every_us: int = 1_000_000
    immediate: bool = False  # IOC
    grid_us: int | None = None  # on a decision grid of such steps instead of every event

    @property
    def flags(self) -> int:
        return kernel.IOC if self.immediate or self.where == "sweep" else 0


class Orders(NamedTuple):
    """Orders that were sent, a row each. Times in µs, prices of the order's own side in 1e-4 dollar."""

    sent_us: I64
    left_us: I64  # how long the stretch lasts from then
    side: I64
    size: I64
    price: I64  # the limit; after the touch-only rule of small orders
    ahead: I64  # when it came to rest; -1 where it did not
    mid: I64  # own side's, twice 1e-4 dollar, when it was sent
    touch: I64  # own price of the touch it aimed at
    filled: I64
    cost: I64  # 1e-6 dollar
    fees: I64
    first_us: I64  # from sending to the first fill; NEVER
    full_us: I64  # to the last of the whole; NEVER
    block: I64  # hour of the calendar, whatever the market: orders of one block share their luck


class Fills(NamedTuple):
    """Their fills, a row each."""

    order: I64  # row of Orders
    us: I64  # since it was sent
    price: I64  # own side's
    size: I64
    maker: NDArray[np.bool_]
    markout: F64  # [n, len(MARKOUTS)] cents from the price to the mid so much later; NaN where that is not known


class Outcome(NamedTuple):
    """A study's orders and fills."""

    orders: Orders
    fills: Fills
    drift: F64  # cents by which the own side's mid had risen when the order was followed no longer; NaN: not known

    def filled_by(self, horizon_us: int) -> I64:
        """Contracts (1e-2) of each order that were filled within a time."""
        within = self.fills.us <= horizon_us
        total = np.zeros(len(self.orders.size), np.int64)
        np.add.at(total, self.fills.order[within], self.fills.size[within])
        return total


_NO_PROGRESS: Final[Callable[[int], None]] = lambda _: None  # noqa: E731 - a constant


def study(
    tapes: Sequence[Tape],
    plan: Plan,
    assumptions: Assumptions | Callable[[Tape], Assumptions],
    *,
    seed: int = 0,
    progress: Callable[[int], None] = _NO_PROGRESS,
) -> Outcome:
    """Play a plan on every stretch. `progress` is told of seconds of tape.

    Account n of the whole study draws by (seed, n).
    """
    asked = sum(tape.seconds for tape in tapes) * 1e6 / plan.every_us * len(plan.sides)
    if asked > MOST:
        raise UsageError(f"that would be {asked:,.0f} orders, more than {MOST:,}", hint="send fewer: --every 10")
    parts: list[Outcome] = []
    sent = 0
    for tape in tapes:
        rules = (assumptions if isinstance(assumptions, Assumptions) else assumptions(tape)).rules()
        for stretch in range(tape.stretches):
            first_us, last_us = tape.span_us(stretch)
            market = market_of(tape) if plan.grid_us is None else market_on(on_grid(tape, stretch, plan.grid_us))
            for starts, sides in batches(first_us, last_us, plan):
                parts.append(_play(tape, stretch, market, plan, rules, starts, sides, seed=seed, first=sent))
                sent += len(starts)
            progress(round((last_us - first_us) / 1e6))
    return concatenated(parts)


def empty() -> Outcome:
    """Of no order."""
    nothing = np.zeros(0, np.int64)
    return Outcome(
        Orders(*[nothing] * len(Orders._fields)),
        Fills(nothing, nothing, nothing, nothing, np.zeros(0, np.bool_), np.zeros((0, len(MARKOUTS)))),
        np.zeros(0),
    )


def batches(first_us: int, last_us: int, plan: Plan) -> Iterator[tuple[I64, I64]]:
    """Moments and sides of the orders, a batch at a time."""
    moments = np.arange(first_us, last_us, plan.every_us, dtype=np.int64)
    starts = np.repeat(moments, len(plan.sides))
    sides = np.tile(np.array(plan.sides, np.int64), len(moments))
    for at in range(0, len(starts), BATCH):
        yield starts[at : at + BATCH], sides[at : at + BATCH]


def concatenated(parts: Sequence[Outcome]) -> Outcome:
    """One study of several."""
    if not parts:
        return empty()
    rows = np.cumsum([0, *[len(part.orders.size) for part in parts]])
    moved = [part.fills._replace(order=part.fills.order + row) for part, row in zip(parts, rows, strict=False)]
    orders = Orders(*(np.concatenate(columns) for columns in zip(*(part.orders for part in parts), strict=True)))
    fills = Fills(*(np.concatenate(columns) for columns in zip(*moved, strict=True)))
    return Outcome(orders, fills, np.concatenate([part.drift for part in parts]))


def instructions(starts: I64, sides: I64, plan: Plan, tape: Tape) -> tuple[I64, I64]:
    """One order for each account, and spans: see `one_order_each`."""
    if plan.price is None:
        return one_order_each(starts, sides, plan.size, rule=_RULES[plan.where], flags=plan.flags)
    return one_order_each(starts, sides, plan.size, column=_column(tape, plan.price), flags=plan.flags)


def _column(tape: Tape, price: Price) -> int:
    column = int(np.searchsorted(tape.arrays.price, price))
    if column == tape.columns or tape.arrays.price[column] != price:
        raise UsageError(
            f"a price of {format_price(price)} is not on the grid of {tape.market}", hint="choose one of its ticks"
        )
    return column


class _Played(NamedTuple):
    """A batch that was played, less the orders that were never sent; `bid` and `ask`: columns of the touch they saw."""

    tape: Tape
    stretch: int
    plan: Plan
    sent_us: I64
    side: I64
    bid: I64
    ask: I64
    order: I64  # [n, ORDER]
    log: I64  # [n, F, LOG]
    kind: I64  # [n, F] of log rows; 0 behind the last

    def own(self, yes: NDArray[Any]) -> NDArray[Any]:
        """Prices (or mids, doubled: see `mid`) of the side that was bought."""
        return np.where(self.side == 0, yes, DOLLAR - yes)

    @property
    def mid(self) -> I64:
        """Own side's, twice."""
        prices = self.tape.arrays.price.astype(np.int64)
        twice = prices[self.bid] + prices[self.ask]
        return np.where(self.side == 0, twice, 2 * DOLLAR - twice)


def _play(
    tape: Tape,
    stretch: int,
    market: kernel.Market,
    plan: Plan,
    rules: kernel.Rules,
    starts: I64,
    sides: I64,
    *,
    seed: int,
    first: int,
) -> Outcome:
    count, (_, last_us) = len(starts), tape.span_us(stretch)
    what, spans = instructions(starts, sides, plan, tape)
    stops = np.minimum(starts + plan.horizon_us, last_us)
    rows = 16
    while True:
        state = new_accounts(count, tape.columns, ENOUGH, seed=seed, log=rows, first=first)
        bid, ask = _seat(market, stretch, plan, state, starts)
        if plan.grid_us is None:
            kernel.play(state, market, rules, what, spans, stops)
        else:
            kernel.play_on_grid(state, market, rules, what, spans, stops)
        logged = int(state.account[:, kernel.LOGGED].max(initial=0))
        if logged <= rows:
            break
        rows = 2 * logged
    kept = np.flatnonzero((bid >= 0) & (ask < tape.columns) & (state.orders[:, 0, kernel.REASON] != kernel.NO_PLACE))
    log, counts = state.log[kept], state.account[kept, kernel.LOGGED]
    kind = np.where(np.arange(log.shape[1]) < counts[:, None], log[:, :, kernel.KIND], 0)
    order = state.orders[kept, 0]
    played = _Played(tape, stretch, plan, starts[kept], sides[kept], bid[kept], ask[kept], order, log, kind)
    return Outcome(_orders(played), _fills(played), _drift(played))


def _seat(market: kernel.Market, stretch: int, plan: Plan, state: kernel.State, starts: I64) -> tuple[I64, I64]:
    """Put the accounts where they begin; the columns of the touch they see there."""
    if plan.grid_us is None:
        kernel.seat_all(state, market, np.full(len(starts), stretch, np.int64), starts)
    else:
        # An order goes out on the first step that is not before its moment.
        rows = np.minimum(-((market.start_us - starts) // plan.grid_us), len(market.rows) - 1)
        for i, row in enumerate(rows):
            kernel.seat_on_row(state, market, i, row)
    return state.account[:, kernel.BID].copy(), state.account[:, kernel.ASK].copy()


def _orders(played: _Played) -> Orders:
    tape, order, sent, kind = played.tape, played.order, played.sent_us, played.kind
    prices = tape.arrays.price.astype(np.int64)
    last_us = tape.span_us(played.stretch)[1]
    rests = kind == kernel.ARRIVED
    rest_row = played.log[np.arange(len(order)), np.argmax(rests, axis=1)]
    full = (order[:, kernel.REASON] == kernel.FILLED) & (order[:, kernel.LEFT] == 0)
    bid, ask = prices[played.bid], prices[played.ask]
    takes = played.plan.where in ("cross", "sweep")
    aimed = np.where((played.side == 0) == takes, ask, bid)
    never = np.int64(kernel.NEVER)
    return Orders(
        sent_us=sent,
        left_us=last_us - sent,
        side=played.side,
        size=order[:, kernel.SIZE],
        price=played.own(prices[np.clip(order[:, kernel.COL], 0, len(prices) - 1)]),
        ahead=np.where(rests.any(axis=1), rest_row[:, kernel.L_AHEAD], -1),
        mid=played.mid,
        touch=played.own(aimed),
        filled=order[:, kernel.SIZE] - order[:, kernel.LEFT],
        cost=order[:, kernel.NOTIONAL],
        fees=order[:, kernel.FEE],
        first_us=np.where(order[:, kernel.FIRST] > 0, order[:, kernel.FIRST] - sent, never),
        full_us=np.where(full, order[:, kernel.LAST] - sent, never),
        block=sent // BLOCK_US,
    )


def _fills(played: _Played) -> Fills:
    which, row = np.nonzero((played.kind == kernel.TOOK) | (played.kind == kernel.MADE))
    fill, side = played.log[which, row], played.side[which]
    yes = played.tape.arrays.price.astype(np.int64)[fill[:, kernel.L_COL]]
    own = np.where(side == 0, yes, DOLLAR - yes)
    return Fills(
        order=which.astype(np.int64),
        us=fill[:, kernel.AT] - played.sent_us[which],
        price=own,
        size=fill[:, kernel.L_SIZE],
        maker=fill[:, kernel.KIND] == kernel.MADE,
        markout=markouts(played.tape, played.stretch, fill[:, kernel.AT], side, own),
    )


def _drift(played: _Played) -> F64:
    """Cents by which the own side's mid rose until an order was followed no longer."""
    last_us = played.tape.span_us(played.stretch)[1]
    later = mids(played.tape, played.stretch, np.minimum(played.sent_us + played.plan.horizon_us, last_us))
    return (np.where(played.side == 0, later, 2 * DOLLAR - later) - played.mid) / 200


def markouts(tape: Tape, stretch: int, us: I64, side: I64, own_price: I64) -> F64:
    """Cents from a price to the own side's mid, MARKOUTS seconds after a moment; [n, 3], NaN where it is not known."""
    marks = np.full((len(us), len(MARKOUTS)), np.nan)
    for column, seconds in enumerate(MARKOUTS):
        mid = mids(tape, stretch, us + seconds * 1_000_000)
        marks[:, column] = (np.where(side == 0, mid, 2 * DOLLAR - mid) / 2 - own_price) / 100
    return marks


def mids(tape: Tape, stretch: int, us: I64) -> F64:
    """Twice the YES mid (1e-4 dollar) at some moments; NaN after the stretch or where a side does not quote."""
    first, behind = tape.arrays.bounds[stretch]
    times, top = tape.arrays.us[first:behind], tape.arrays.top[first:behind]
    last = np.searchsorted(times, us, side="right") - 1
    bid, ask = top[last, 0], top[last, 1]
    known = (last >= 0) & (us <= times[-1]) & (bid >= 0) & (ask < tape.columns)
    prices = tape.arrays.price.astype(np.float64)
    twice = prices[np.clip(bid, 0, None)] + prices[np.clip(ask, None, tape.columns - 1)]
    return np.where(known, twice, np.nan)
