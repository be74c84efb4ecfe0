"""What one order may do by itself: its size, its price, the position and the cash it could lead to, how many are open.

Masks of training (compiled by numba) and the guard before the venue run this very source, so it takes whole numbers
and gives one: 0, or why the order is refused. Prices 1e-4 dollar of the side that is bought, sizes 1e-2 contract,
money 1e-6 dollar.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from kflow.units import CONTRACT, Size

# Why an order is refused, in the order in which it is looked at.
ALLOWED, SIZE, PRICE, OPEN_ORDERS, NOTHING_TO_CLOSE, OWN_ORDER, POSITION, CASH = range(8)
REASONS: Final = {
    SIZE: "larger than an order may be, or of no size",
    PRICE: "the book does not say at which price, or it is no price",
    OPEN_ORDERS: "as many orders are open as may be",
    NOTHING_TO_CLOSE: "reduce-only, and there is nothing to close",
    OWN_ORDER: "it would meet an own order",
    POSITION: "the position could become larger than it may be",
    CASH: "cash does not cover the worst case",
}

_DOLLAR: Final = 10_000


class OrderLimits(NamedTuple):
    """The bounds. All inclusive."""

    max_order: int = Size(100 * CONTRACT)
    max_position: int = Size(500 * CONTRACT)
    max_open: int = 4


def worst_fee(price: int, size: int, rate: int, unit: int, step: int, precision: int) -> int:
    """The most that an order may cost in fees if it is filled at once.

    Split into many fills it may cost more, for the venue keeps roundings; whoever fills it looks at the cash again.
    rate / unit: the dearer of taker and maker, as a fraction; `step` and `precision`: what the venue rounds to.
    """
    return -(-(rate * price * (_DOLLAR - price) * size) // unit) * step + precision


def refusal(
    price: int,
    size: int,
    reduce_only: int,
    meets_own: int,
    held: int,
    waiting: int,
    free: int,
    fee: int,
    open_orders: int,
    max_order: int,
    max_position: int,
    max_open: int,
) -> int:
    """0, or why an order to buy `size` of a side at `price` is refused.

    held: contracts of the other side, which it would close; negative: of its own side. waiting: contracts of open
    orders of its side, resting or on their way; all of them count as filled. free: cash that nothing holds back.
    fee: `worst_fee`. meets_own: whether an open order of the other side stands at its price or beyond.
    """
    if size <= 0 or size > max_order:
        return SIZE
    if price <= 0 or price >= _DOLLAR:
        return PRICE
    if open_orders >= max_open:
        return OPEN_ORDERS
    closing = min(max(held - waiting, 0), size)
    if reduce_only:
        if closing == 0:
            return NOTHING_TO_CLOSE
        size = closing
    if meets_own:
        return OWN_ORDER
    if waiting + size - held > max_position:
        return POSITION
    if price * (size - closing) + fee > free:
        return CASH
    return ALLOWED
