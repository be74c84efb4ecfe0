"""One market of the paper venue: an account of the simulator's kernel on a tape that grows while it is read.

The kernel reads a stretch up to its last event and knows nothing behind it. Here a last event is always there, at the
end of time, so that it stops at the present instead. What it has read is not kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np

from kflow.act.paper_tape import Event
from kflow.errors import DataError
from kflow.market.fees import FeeSchedule
from kflow.market.grid import Grid
from kflow.sim import kernel
from kflow.sim.accounts import Limits, new_accounts
from kflow.sim.assume import parse_latency
from kflow.sim.fills import Assumptions, model_named
from kflow.sim.orders import Moment, moment
from kflow.sim.tape import ADD, CANCEL, LEVEL_LIMIT, PRINT, TRADE
from kflow.units import DOLLAR, Money, Size

_LAST_OF_ITS_US: Final = 8
# Of one order, what the kernel can count exactly; a position may be as large as it gets.
MOST: Final = Size(LEVEL_LIMIT - 1)
_NO_LIMIT: Final = Size(2**40)


@dataclass(slots=True)
class Pool:
    """One account's money, 1e-6 dollar, that all of its markets draw on."""

    cash: int
    reserved: int = 0  # by all open orders


class PaperMarket:
    """The account's orders in one market. Times µs of the venue; it never goes back."""

    def __init__(self, grid: Grid, assumptions: Assumptions, pool: Pool, *, seed: int, number: int) -> None:
        """Account `number` of `seed`, for what is drawn. Nothing can be done before `begin`."""
        self.live = False
        self.waiting = 0  # events that were given and not read
        self._prices: Final = [int(price) for price in grid.prices()]
        self._columns: Final = {price: column for column, price in enumerate(self._prices)}
        self._rules: Final = assumptions.rules()
        self._pool: Final = pool
        limits = Limits(cash=Money(0), max_position=_NO_LIMIT, max_order=MOST, orders=8)
        self._state = new_accounts(1, len(grid), limits, seed=seed, first=number)
        self._price: Final = np.array(self._prices, np.int32)
        self._books: Final = np.zeros((1, 2, len(grid)), np.int32)
        self._market = self._room(64)

    def column(self, side: int, price: int) -> int:
        """Of an own price; -1 off the grid."""
        return self._columns.get(DOLLAR - price if side else price, -1)

    @property
    def columns(self) -> int:
        return len(self._prices)

    @property
    def now_us(self) -> int:
        return self._field(kernel.NOW)

    @property
    def position(self) -> int:
        return self._field(kernel.POSITION)

    # The book.

    def begin(self, us: int, bids: Sequence[int], asks: Sequence[int]) -> list[Moment]:
        """A book without a gap begins, sizes by column; orders of before are gone."""
        self._books[0] = [bids, asks]
        self._market.us[0] = kernel.NEVER
        with self._lent():
            kernel.seat(self._state, self._market, 0, 0, max(us, self.now_us))
        self.live, self.waiting = True, 0
        return self._heard()

    def end(self) -> list[Moment]:
        """What follows is not known, and every open order is gone. All events have been read."""
        self.live = False
        with self._lent():
            self._market.us[0] = self.now_us
            self._set(CURSOR=1, END=1)
            kernel.run(self._state, self._market, self._rules, 0, self.now_us + 1)
        return self._heard()

    def give(self, events: Sequence[Event]) -> None:
        """Events that follow those given before. Raises DataError for more than a level may hold."""
        if any(event.size >= LEVEL_LIMIT for event in events):
            raise DataError(f"a change of more than {LEVEL_LIMIT // 100:,} contracts is more than can be counted")
        if not events:
            return
        market, first = self._market, self._field(kernel.CURSOR)
        unread = self.waiting
        if unread + len(events) >= len(market.us):
            self._market = self._room(2 * (unread + len(events)))
        for name in ("us", "code", "col", "size"):
            getattr(self._market, name)[:unread] = getattr(market, name)[first : first + unread].copy()
        rows = np.array(events, np.int64).reshape(-1, 5)
        us, kind, side, column, size = rows.T
        behind = unread + len(events)
        last = np.append(us[1:] != us[:-1], True)
        self._market.us[unread:behind] = us
        self._market.code[unread:behind] = kind | side << 2 | np.where(last, _LAST_OF_ITS_US, 0)
        self._market.col[unread:behind] = column
        self._market.size[unread:behind] = size
        self._market.us[behind] = kernel.NEVER
        self.waiting = behind
        self._set(CURSOR=0, END=behind + 1)

    def next_us(self) -> int:
        """When something may happen to an open order next; NEVER where there is none."""
        due = self._field(kernel.DUE)
        if due == kernel.NEVER and not self._field(kernel.RESTING):
            return int(kernel.NEVER)
        return min(due, int(self._market.us[self._field(kernel.CURSOR)]))

    def run(self, until_us: int) -> list[Moment]:
        """Everything up to and including a moment."""
        if not self.live:
            return []
        with self._lent():
            while True:
                before = kernel.State._make(array.copy() for array in self._state)
                kernel.run(self._state, self._market, self._rules, 0, until_us)
                logged = self._field(kernel.LOGGED)
                if logged <= self._state.log.shape[1]:
                    break
                # More than the log holds: the same again with room for it.
                log = np.zeros((1, 2 * logged, kernel.LOG), np.int64)
                self._state = before._replace(log=log)
        self.waiting = self._field(kernel.END) - 1 - self._field(kernel.CURSOR)
        return self._heard()

    # Orders, all as of the present.

    def place(self, side: int, column: int, size: int, *, immediate: bool, reduce_only: bool, expires_us: int) -> int:
        """Send an order; its number. expires_us 0: never. What becomes of it is heard from `run`."""
        status = self._state.orders[0, :, kernel.STATUS]
        if not np.any((status == kernel.FREE) | (status == kernel.DONE)):
            self._more_slots()
        flags = kernel.IOC * immediate | kernel.REDUCE_ONLY * reduce_only
        number = self._field(kernel.PLACED)
        slot = kernel.place(self._state, self._market, self._rules, 0, side, column, size, flags, 0)
        if expires_us:
            self._state.orders[0, slot, kernel.EXPIRES] = expires_us
        return number

    def cancel(self, number: int) -> bool:
        """Ask for a cancellation; False where the order is over."""
        slot = self._slot(number)
        if slot is not None:
            kernel.cancel(self._state, self._rules, 0, slot)
        return slot is not None

    def withdraw(self, number: int, us: int) -> None:
        """The venue itself cancels an order: at once, and one that is under way when it arrives."""
        slot = self._slot(number)
        if slot is not None:
            self._state.orders[0, slot, kernel.CANCELS] = us
            self._wake(us)

    def renewal_us(self, number: int) -> int | None:
        """When an amendment that is sent now arrives; None where the order is over."""
        slot = self._slot(number)
        if slot is None:
            return None
        # The kernel draws how long it travels; a new expiry is all that it carries, so it is not for the kernel.
        order = self._state.orders[0, slot]
        kernel.amend(self._state, self._rules, 0, slot, int(order[kernel.COL]), int(order[kernel.LEFT]))
        arrives_us, order[kernel.AMENDS] = int(order[kernel.AMENDS]), kernel.NEVER
        return arrives_us

    def expire_at(self, number: int, expires_us: int) -> bool:
        """Give an open order another end; False where it is over."""
        slot = self._slot(number)
        if slot is not None:
            self._state.orders[0, slot, kernel.EXPIRES] = expires_us
            self._wake(expires_us)
        return slot is not None

    def ahead(self, number: int) -> int | None:
        """What is ahead of a resting order in its queue; None where it does not rest."""
        slot = self._slot(number)
        return None if slot is None else int(self._state.orders[0, slot, kernel.AHEAD])

    def settle(self, value: int) -> list[Moment]:
        """End every order and pay out what a YES contract is worth, 1e-4 dollar."""
        with self._lent():
            kernel.settle(self._state, 0, value)
        return self._heard()

    # How.

    @contextmanager
    def _lent(self) -> Iterator[None]:
        """The kernel's account has, above its own reserve, what of the pool no market has reserved."""
        pool, held = self._pool, self._field(kernel.RESERVED)
        lent = pool.cash - (pool.reserved - held)
        self._set(CASH=lent)
        yield
        pool.cash += self._field(kernel.CASH) - lent
        pool.reserved += self._field(kernel.RESERVED) - held

    def _heard(self) -> list[Moment]:
        rows = self._state.log[0, : self._field(kernel.LOGGED)].tolist()
        self._set(LOGGED=0)
        return [moment(row, self._prices) for row in rows]

    def _room(self, events: int) -> kernel.Market:
        """A market with room for so many events."""
        return kernel.Market(
            us=np.full(events, kernel.NEVER, np.int64),
            code=np.zeros(events, np.uint8),
            col=np.zeros(events, np.int16),
            size=np.zeros(events, np.int32),
            price=self._price,
            bounds=np.array([[0, 1]], np.int64),
            keys=np.zeros(1, np.int64),
            books=self._books,
            rows=np.zeros((0, 2, 1, 3), np.int32),
            top=np.zeros((0, 2), np.int16),
            far=np.zeros((0, 2), np.int16),
            start_us=0,
            step_us=0,
        )

    def _more_slots(self) -> None:
        state = self._state
        more = {
            name: np.concatenate([array, np.zeros_like(array)], axis=1)
            for name, array in (("orders", state.orders), ("queue", state.queue), ("chance", state.chance))
        }
        self._state = state._replace(**more, before=np.concatenate([state.before, state.before], axis=1))

    def _slot(self, number: int) -> int | None:
        orders = self._state.orders[0]
        open_ = (orders[:, kernel.STATUS] == kernel.TRAVELS) | (orders[:, kernel.STATUS] == kernel.RESTS)
        found = np.flatnonzero((orders[:, kernel.ID] == number) & open_)
        return int(found[0]) if len(found) else None

    def _wake(self, us: int) -> None:
        self._set(DUE=min(self._field(kernel.DUE), us))

    def _field(self, field: int) -> int:
        return int(self._state.account[0, field])

    def _set(self, **fields: int) -> None:
        for name, value in fields.items():
            self._state.account[0, getattr(kernel, name)] = value


def warm(fills: str, latency: str) -> None:
    """Compile whatever a market of such assumptions runs, where that is not on disk yet.

    It takes a third of a minute, in which an actor could keep no lease: so it is done before there is one. Raises
    UsageError for assumptions that there are not.
    """
    fees = FeeSchedule.parse("quadratic", 1)
    assumptions = Assumptions(model=model_named(fills), latency=parse_latency(latency), fees=fees)
    grid = Grid.parse([{"start": "0.0100", "end": "0.9900", "step": "0.0100"}])
    one = PaperMarket(grid, assumptions, Pool(1_000_000_000), seed=0, number=0)
    bids, asks = [1_000 * (column < 40) for column in range(99)], [1_000 * (column > 60) for column in range(99)]
    one.begin(1_000_000, bids, asks)
    resting, _ = (
        one.place(side, 39, 100, immediate=side == 1, reduce_only=False, expires_us=9_000_000) for side in (0, 1)
    )
    one.give([Event(2_000_000, kind, 0, 39, 500) for kind in (ADD, CANCEL, TRADE, PRINT)])
    one.run(2_500_000)
    one.renewal_us(resting)
    one.cancel(resting)
    one.run(8_000_000)
    one.settle(int(DOLLAR))
    one.end()
