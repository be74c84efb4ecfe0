"""The kernel's account as an object with the plain simulator's methods, so that a test reads as a story."""

from __future__ import annotations

import numpy as np

from kflow.sim import kernel
from kflow.sim.accounts import Limits, market_of, market_on, new_accounts
from kflow.sim.fills import Assumptions
from kflow.sim.tape import Tape, on_grid
from kflow.testing.cases import Instruction, as_array


class Compiled:
    """One account of the kernel on a tape, seated at the first event of its first stretch."""

    def __init__(
        self,
        tape: Tape,
        assumptions: Assumptions,
        limits: Limits | None = None,
        *,
        seed: int = 0,
        number: int = 0,
        log: int = 4096,
        step_us: int = 0,
    ) -> None:
        """`step_us`: go along the decision grid of the first stretch instead of taking every event."""
        limits = limits or Limits()
        self.rules = assumptions.rules()
        self.state = new_accounts(1, tape.columns, limits, seed=seed, log=log, first=number)
        self.stepped = step_us > 0
        if self.stepped:
            self.market = market_on(on_grid(tape, 0, step_us))
            kernel.seat_on_row(self.state, self.market, 0, 0)
        else:
            self.market = market_of(tape)
            self.seat(0, tape.span_us(0)[0])

    def seat(self, stretch: int, us: int) -> None:
        kernel.seat(self.state, self.market, 0, stretch, us)

    def run(self, until_us: int) -> None:
        """On a grid: to the first row that is not before the moment."""
        if self.stepped:
            while self.now < until_us and kernel.step(self.state, self.market, self.rules, 0):
                pass
        else:
            kernel.run(self.state, self.market, self.rules, 0, until_us)

    def instruct(self, what: Instruction) -> None:
        """One instruction of a plan, at its moment."""
        spans, stops = np.array([[0, 1]], np.int64), np.array([what[0]], np.int64)
        kernel.play(self.state, self.market, self.rules, as_array([what]), spans, stops)

    def place(self, side: int, col: int, size: int, flags: int = 0, ttl_us: int = 0) -> int:
        """The order's number, or -1. What travels no time arrives at the next `run`."""
        number = int(self.state.account[0, kernel.PLACED])
        slot = kernel.place(self.state, self.market, self.rules, 0, side, col, size, flags, ttl_us)
        return number if slot >= 0 else -1

    def take(self, side: int, col: int, size: int) -> int:
        """An immediate-or-cancel order, at once: how much of it is filled."""
        return self.filled(self.enter(side, col, size, kernel.IOC))

    def enter(self, side: int, col: int, size: int, flags: int = 0) -> int:
        """Place an order and let it arrive, where it travels no time."""
        number = self.place(side, col, size, flags)
        self.run(self.now)
        return number

    def cancel(self, number: int) -> None:
        kernel.cancel(self.state, self.rules, 0, self._slot(number))

    def amend(self, number: int, col: int, size: int) -> None:
        kernel.amend(self.state, self.rules, 0, self._slot(number), col, size)

    def settle(self, value: int) -> None:
        kernel.settle(self.state, 0, value)

    def _slot(self, number: int) -> int:
        [slot] = np.flatnonzero(
            (self.state.orders[0, :, kernel.ID] == number) & (self.state.orders[0, :, kernel.STATUS] != kernel.FREE)
        )
        return int(slot)

    def field(self, number: int, field: int) -> int:
        """A field of an order whose slot no other has taken."""
        return int(self.state.orders[0, self._slot(number), field])

    @property
    def now(self) -> int:
        return int(self.state.account[0, kernel.NOW])

    @property
    def cash(self) -> int:
        return int(self.state.account[0, kernel.CASH])

    @property
    def position(self) -> int:
        return int(self.state.account[0, kernel.POSITION])

    @property
    def fees(self) -> int:
        return int(self.state.account[0, kernel.FEES])

    @property
    def equity(self) -> int:
        """Cash and what the position would bring at once."""
        return self.cash + int(kernel.liquidation(self.state, self.market, self.rules, 0))

    @property
    def log(self) -> list[tuple[int, ...]]:
        logged = int(self.state.account[0, kernel.LOGGED])
        assert logged <= self.state.log.shape[1], "more rows than room"
        return [tuple(row) for row in self.state.log[0, :logged].tolist()]

    @property
    def fills(self) -> list[tuple[int, ...]]:
        return [row for row in self.log if row[kernel.KIND] in (kernel.TOOK, kernel.MADE)]

    def filled(self, number: int) -> int:
        """How much of an order is filled."""
        return sum(row[kernel.L_SIZE] for row in self.fills if row[kernel.OF] == number)
