"""One account of the kernel as an object: send orders, let time pass, hear what happened.

The scalar face of the batch: an account here and the same account among thousands give the same bytes.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from kflow.errors import UsageError
from kflow.market.events import Level, Side
from kflow.sim import kernel
from kflow.sim.accounts import Limits, market_of, new_accounts
from kflow.sim.fills import Assumptions
from kflow.sim.tape import Tape
from kflow.units import DOLLAR, Money, Price, Size, complement

# What the kernel's numbers mean, in words.
KINDS: Final = {
    kernel.SENT: "sent",
    kernel.ARRIVED: "rests",
    kernel.TOOK: "took",
    kernel.MADE: "filled",
    kernel.ENDED: "ended",
    kernel.AMENDED: "amended",
    kernel.QUEUE_TRADED: "traded ahead",
    kernel.QUEUE_CANCELLED: "cancelled ahead",
}
REASONS: Final = {
    kernel.FILLED: "filled",
    kernel.CANCELLED: "cancelled",
    kernel.EXPIRED: "expired",
    kernel.NO_CASH: "cash does not cover it",
    kernel.SELF_TRADE: "it meets an own order",
    kernel.WOULD_CROSS: "post-only, and it would cross",
    kernel.OVER_SIZE: "larger than allowed",
    kernel.OVER_POSITION: "the position would be larger than allowed",
    kernel.NO_REST: "immediate or cancel, and nothing more to take",
    kernel.NO_PLACE: "the book does not say at which price",
    kernel.SETTLED: "the market was settled",
    kernel.GONE: "its stretch of the recording ended",
}


class Moment(NamedTuple):
    """Something that happened to an order. Prices are its own side's."""

    us: int
    order: int
    kind: str
    price: Price
    size: Size
    ahead: Size
    left: Size
    fee: Money
    reason: str  # why it ended; else empty


def moment(row: list[int], prices: list[int]) -> Moment:
    """A row of the kernel's log; `prices` are those of the tape's columns."""
    column, kind = row[kernel.L_COL], row[kernel.KIND]
    yes = Price(prices[column] if 0 <= column < len(prices) else 0)
    ended = kind == kernel.ENDED
    return Moment(
        us=row[kernel.AT],
        order=row[kernel.OF],
        kind=KINDS[kind],
        price=complement(yes) if row[kernel.L_SIDE] else yes,
        size=Size(0 if ended else row[kernel.L_SIZE]),
        ahead=Size(row[kernel.L_AHEAD]),
        left=Size(row[kernel.L_LEFT]),
        fee=Money(row[kernel.L_FEE]),
        reason=REASONS[row[kernel.L_SIZE]] if ended else "",
    )


class SimulatedOrderManager:
    """One account on one stretch of a tape. Times are µs of the venue; a price is of the side that is bought."""

    def __init__(
        self,
        tape: Tape,
        assumptions: Assumptions,
        limits: Limits | None = None,
        *,
        stretch: int = 0,
        start_us: int | None = None,
        seed: int = 0,
        number: int = 0,
        verbose: bool = False,
    ) -> None:
        """Begins at `start_us`, else with the stretch's first event. Account `number` of `seed`, for what is drawn."""
        self.tape: Final = tape
        self._prices: Final = [int(price) for price in tape.arrays.price]
        self._columns: Final = {price: column for column, price in enumerate(self._prices)}
        self._market = market_of(tape)
        self._rules = assumptions.rules(verbose=verbose)
        self._state = new_accounts(1, tape.columns, limits or Limits(), seed=seed, log=64, first=number)
        kernel.seat(self._state, self._market, 0, stretch, tape.span_us(stretch)[0] if start_us is None else start_us)

    # Orders.

    def place(
        self,
        side: Side,
        price: Price,
        size: Size,
        *,
        immediate: bool = False,
        post_only: bool = False,
        reduce_only: bool = False,
        ttl_us: int = 0,
    ) -> int:
        """Send an order and return its number. Whether it is accepted is heard from `advance`.

        Raises UsageError for a price off the grid, and where as many orders are open as may be.
        """
        self._make_room(self._field(kernel.LOGGED) + 2)  # it is sent, and may be over at once
        flags = kernel.IOC * immediate | kernel.POST_ONLY * post_only | kernel.REDUCE_ONLY * reduce_only
        number = self._field(kernel.PLACED)
        slot = kernel.place(
            self._state, self._market, self._rules, 0, int(side), self._column(side, price), int(size), flags, ttl_us
        )
        if slot < 0:
            open_orders = self._state.orders.shape[1]
            raise UsageError(
                f"{open_orders} orders are open, and no more may be", hint="cancel one, or raise Limits.orders"
            )
        return number

    def cancel(self, order: int) -> None:
        """Ask for a cancellation; nothing happens to an order that is over."""
        slot = self._slot(order)
        if slot is not None:
            kernel.cancel(self._state, self._rules, 0, slot)

    def cancel_all(self) -> None:
        """Ask for the cancellation of every open order."""
        for slot in range(self._state.orders.shape[1]):
            kernel.cancel(self._state, self._rules, 0, slot)

    def amend(self, order: int, price: Price, remaining: Size) -> None:
        """Ask for another price or remaining size. Raises UsageError for a price off the grid."""
        slot = self._slot(order)
        if slot is not None:
            side = Side(int(self._state.orders[0, slot, kernel.SIDE]))
            kernel.amend(self._state, self._rules, 0, slot, self._column(side, price), int(remaining))

    def advance(self, until_us: int) -> list[Moment]:
        """Let time pass; all that happened to orders since the last call, in order."""
        while True:
            before = kernel.State._make(array.copy() for array in self._state)
            kernel.run(self._state, self._market, self._rules, 0, until_us)
            logged = self._field(kernel.LOGGED)
            if logged <= self._state.log.shape[1]:
                break
            # More than the log holds: the same again with room for it.
            self._state = before
            self._make_room(logged)
        rows = self._state.log[0, :logged].tolist()
        self._state.account[0, kernel.LOGGED] = 0
        return [moment(row, self._prices) for row in rows]

    def _make_room(self, rows: int) -> None:
        log = self._state.log
        if rows > log.shape[1]:
            room = np.zeros((1, 2 * rows, kernel.LOG), np.int64)
            room[:, : log.shape[1]] = log
            self._state = self._state._replace(log=room)

    def settle(self, value: Price) -> None:
        """End every order and pay out what a YES contract is worth."""
        kernel.settle(self._state, 0, int(value))

    # What there is.

    @property
    def now_us(self) -> int:
        return self._field(kernel.NOW)

    @property
    def cash(self) -> Money:
        return Money(self._field(kernel.CASH))

    @property
    def reserved(self) -> Money:
        """What open orders hold back."""
        return Money(self._field(kernel.RESERVED))

    @property
    def position(self) -> Size:
        """Contracts held: YES positive, NO negative."""
        return Size(self._field(kernel.POSITION))

    @property
    def fees(self) -> Money:
        return Money(self._field(kernel.FEES))

    @property
    def equity(self) -> Money:
        """Cash, and what the position would bring at once."""
        return Money(self.cash + int(kernel.liquidation(self._state, self._market, self._rules, 0)))

    @property
    def resting(self) -> int:
        """Orders in the book."""
        return self._field(kernel.RESTING)

    def levels(self, side: Side) -> list[Level]:
        """The book as recorded: a side's bids, best first."""
        sizes = self._state.depth[0, int(side)]
        columns = np.flatnonzero(sizes)[:: 1 if side else -1]
        return [
            (Price(DOLLAR - self._prices[c] if side else self._prices[c]), Size(int(sizes[c])))
            for c in columns.tolist()
        ]

    def _field(self, field: int) -> int:
        return int(self._state.account[0, field])

    def _column(self, side: Side, price: Price) -> int:
        yes = complement(price) if side else price
        if yes not in self._columns:
            raise UsageError(f"a price of {price / DOLLAR:.4f} is not on the grid of {self.tape.market}")
        return self._columns[yes]

    def _slot(self, order: int) -> int | None:
        orders = self._state.orders[0]
        open_ = (orders[:, kernel.STATUS] == kernel.TRAVELS) | (orders[:, kernel.STATUS] == kernel.RESTS)
        found = np.flatnonzero((orders[:, kernel.ID] == order) & open_)
        return int(found[0]) if len(found) else None
