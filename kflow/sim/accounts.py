"""Accounts in the kernel's arrays: made here, and given the market they are to read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kflow.sim import kernel
from kflow.sim.tape import GridTape, Tape
from kflow.units import CONTRACT, Money, Size

I64 = kernel.I64

_NO_ROWS: Final = (0, 2, 1, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one account may do in one market."""

    cash: Money = Money(10_000 * 1_000_000)
    max_position: Size = Size(10_000 * CONTRACT)
    max_order: Size = Size(10_000 * CONTRACT)
    orders: int = 8  # that may be open at once


def new_accounts(
    count: int, columns: int, limits: Limits, *, seed: int = 0, log: int = 64, first: int = 0
) -> kernel.State:
    """`count` accounts with nothing but cash, `log` rows each. Account n draws by (seed, first + n)."""
    account = np.zeros((count, kernel.ACCOUNT), np.int64)
    account[:, kernel.CASH] = limits.cash
    account[:, kernel.MAX_POSITION] = limits.max_position
    account[:, kernel.MAX_ORDER] = limits.max_order
    account[:, kernel.DUE] = kernel.NEVER
    return kernel.State(
        account=account,
        orders=np.zeros((count, limits.orders, kernel.ORDER), np.int64),
        queue=np.zeros((count, limits.orders), np.int64),
        chance=np.zeros((count, limits.orders, 2), np.float64),
        activity=np.zeros(count, np.float64),
        depth=np.zeros((count, 2, columns), np.int32),
        taken=np.zeros((count, 2, columns), np.int32),
        taken_at=np.zeros((count, 2, columns), np.int64),
        random=counters(seed, np.arange(first, first + count)),
        before=np.zeros((count, limits.orders), np.int64),
        log=np.zeros((count, log, kernel.LOG), np.int64),
    )


def counters(seed: int, numbers: I64) -> NDArray[np.uint64]:
    """Where the splitmix64 of each account begins: their numbers, mixed, so that no two runs of them overlap. [N]."""
    with np.errstate(over="ignore"):
        z = numbers.astype(np.uint64) + np.uint64(seed) * np.uint64(0xD1342543DE82EF95)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
            z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    return z


def one_order_each(
    at_us: I64,
    side: ArrayLike,
    size: ArrayLike,
    *,
    column: ArrayLike = 0,
    rule: int = kernel.AT_COLUMN,
    flags: ArrayLike = 0,
) -> tuple[I64, I64]:
    """One order for each of n accounts, as `kernel.play` reads them: instructions [n, INSTRUCTION] and spans [n, 2]."""
    what = np.zeros((len(at_us), kernel.INSTRUCTION), np.int64)
    what[:, kernel.I_AT], what[:, kernel.I_SIDE], what[:, kernel.I_SIZE] = at_us, side, size
    what[:, kernel.I_RULE], what[:, kernel.I_COL], what[:, kernel.I_FLAGS] = rule, column, flags
    each = np.arange(len(at_us) + 1)
    return what, np.stack([each[:-1], each[1:]], axis=1)


def market_of(tape: Tape) -> kernel.Market:
    """A tape, event by event."""
    arrays = tape.arrays
    return kernel.Market(
        us=arrays.us,
        code=arrays.code,
        col=arrays.col,
        size=arrays.size,
        price=arrays.price,
        bounds=arrays.bounds,
        keys=arrays.keys,
        books=arrays.books,
        rows=np.zeros(_NO_ROWS, np.int32),
        top=np.zeros((0, 2), np.int16),
        far=np.zeros((0, 2), np.int16),
        start_us=0,
        step_us=0,
    )


def market_on(grid: GridTape) -> kernel.Market:
    """A stretch on its decision grid."""
    columns = len(grid.price)
    return kernel.Market(
        us=np.zeros(0, np.int64),
        code=np.zeros(0, np.uint8),
        col=np.zeros(0, np.int16),
        size=np.zeros(0, np.int32),
        price=grid.price,
        bounds=np.zeros((0, 2), np.int64),
        keys=np.zeros(0, np.int64),
        books=np.zeros((0, 2, columns), np.int32),
        rows=grid.rows,
        top=grid.top,
        far=grid.far,
        start_us=grid.start_us,
        step_us=grid.step_us,
    )
