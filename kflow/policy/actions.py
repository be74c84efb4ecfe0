"""What a policy may do, as numbered actions, and which of them are denied.

An action names a side to buy, how its price follows the book, and a size; to sell YES is to buy NO at the complement,
no more than closes what is held. `price_column`, `refused` and `mask` take whole numbers and one-dimensional sequences
of them: the batch compiles them with numba, the actor runs the same source on lists.

Prices are columns of the YES axis as in `kflow.sim.tape`; side 0 buys YES, side 1 buys NO.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from kflow.errors import UsageError
from kflow.market import limits
from kflow.units import CONTRACT, DOLLAR

# What an action does.
HOLD, CANCEL_ALL, ORDER = 0, 1, 2
# How the price follows the book: at the own touch, a tick inside the spread, at the far touch.
PASSIVE, CROSS, INSIDE = 1, 2, 3
# Denied, beside the reasons of `limits`: there is nothing to cancel.
NOTHING_TO_CANCEL: Final = 8
REASONS: Final = {**limits.REASONS, NOTHING_TO_CANCEL: "no order is open"}

KINDS: Final = ("BUY_YES", "SELL_YES", "BUY_NO", "SELL_NO")
# Side that each kind buys. What sells closes only.
_SIDES: Final = (0, 1, 1, 0)
_PRICES: Final = {PASSIVE: "PASSIVE", INSIDE: "INSIDE", CROSS: "CROSS"}

SIZES: Final = tuple(contracts * CONTRACT for contracts in (5, 10, 20, 50, 100))
# An order that rests is taken back after this long: a policy that fell silent leaves nothing behind.
REST_US: Final = 60_000_000


class Table(NamedTuple):
    """A set of actions in columns, [A] each, of whole numbers."""

    op: Sequence[int]
    side: Sequence[int]
    pricing: Sequence[int]
    size: Sequence[int]  # 1e-2 contract
    reduce_only: Sequence[int]
    rest_us: Sequence[int]  # 0: immediate or cancel


class Action(NamedTuple):
    """One action in words and numbers."""

    name: str
    op: int = HOLD
    side: int = 0
    pricing: int = CROSS
    size: int = 0
    reduce_only: int = 0
    rest_us: int = 0


class ActionSet(NamedTuple):
    """Numbered actions. A model is bound to its set: the name and the sizes are kept with it."""

    name: str
    sizes: tuple[int, ...]
    actions: tuple[Action, ...]

    @property
    def table(self) -> Table:
        """The same in columns."""
        return Table(*zip(*(action[1:] for action in self.actions), strict=True))


def _orders(pricings: Sequence[int], sizes: Sequence[int], rest_us: int) -> list[Action]:
    return [
        Action(
            f"{kind}{'' if len(pricings) == 1 else '_' + _PRICES[pricing]} {size / CONTRACT:g}",
            ORDER,
            side,
            pricing,
            size,
            int(kind.startswith("SELL")),
            0 if pricing == CROSS else rest_us,
        )
        for kind, side in zip(KINDS, _SIDES, strict=True)
        for pricing in pricings
        for size in sizes
    ]


def action_set(name: str = "default", sizes: Sequence[int] = SIZES) -> ActionSet:
    """A set by name. Raises UsageError for a name that there is not, and for sizes that are none.

    default: hold, then BUY_YES, SELL_YES, BUY_NO, SELL_NO at the far touch, immediate or cancel, in each size: with
    five sizes 21 actions, index 1 + 5 * kind + size. wide: hold, cancel all, and each kind passive, inside the spread
    and crossing. maker: hold, cancel all, and each side passive or inside.
    """
    if not sizes or min(sizes) <= 0 or list(sizes) != sorted(set(sizes)):
        raise UsageError(
            "sizes of actions have to be positive and ascending", hint="for example --sizes 5,10,20,50,100"
        )
    hold, cancel = Action("HOLD"), Action("CANCEL_ALL", CANCEL_ALL)
    if name == "default":
        actions = [hold, *_orders((CROSS,), sizes, 0)]
    elif name == "wide":
        actions = [hold, cancel, *_orders((PASSIVE, INSIDE, CROSS), sizes, REST_US)]
    elif name == "maker":
        buys = [action for action in _orders((PASSIVE, INSIDE), sizes, REST_US) if not action.reduce_only]
        actions = [hold, cancel, *buys]
    else:
        raise UsageError(f"there is no action set {name}", hint="choose default, wide or maker")
    return ActionSet(name, tuple(sizes), tuple(actions))


def price_column(side: int, pricing: int, bid: int, ask: int, columns: int) -> int:
    """Column at which an order is sent now; outside of [0, columns) where the book does not say."""
    near = bid if side == 0 else ask
    far = ask if side == 0 else bid
    if pricing == CROSS:
        return far
    if pricing == PASSIVE or near < 0 or near >= columns:
        return near
    better = near + 1 if side == 0 else near - 1
    return near if better == far else better


def size_now(side: int, size: int, reduce_only: int, own: Sequence[int]) -> int:
    """Contracts to send of an allowed action: one that sells is cut to what is held and no open order closes already.

    `own` as of `refused`. The venue knows reduce-only of orders that do not rest, so those that do rely on this alone.
    """
    if not reduce_only:
        return size
    held = own[0] if side == 1 else -own[0]
    return min(size, held - own[2 + side])


def refused(
    op: int,
    side: int,
    pricing: int,
    size: int,
    reduce_only: int,
    book: Sequence[int],
    own: Sequence[int],
    price: Sequence[int],
    fees: Sequence[int],
    bounds: Sequence[int],
) -> int:
    """0, or why an action is denied now: a reason of `limits`, or NOTHING_TO_CANCEL.

    book: columns of the best YES bid and ask, and how many there are. own: position (YES positive), free cash,
    contracts of open orders to buy YES and to buy NO, how many are open, highest column of the former (-1: none) and
    lowest of the latter (`columns`: none). fees: rate, unit, step, precision as in `limits.worst_fee`.
    bounds: largest order, largest position, most open orders.
    """
    if op == HOLD:
        return 0
    if op == CANCEL_ALL:
        return 0 if own[4] > 0 else NOTHING_TO_CANCEL
    column = price_column(side, pricing, book[0], book[1], book[2])
    own_price = 0
    if 0 <= column < book[2]:
        own_price = price[column] if side == 0 else DOLLAR - price[column]
    return limits.refusal(
        own_price,
        size,
        reduce_only,
        int(own[6] <= column if side == 0 else own[5] >= column),
        -own[0] if side == 0 else own[0],
        own[2] if side == 0 else own[3],
        own[1],
        limits.worst_fee(own_price, size, fees[0], fees[1], fees[2], fees[3]),
        own[4],
        bounds[0],
        bounds[1],
        bounds[2],
    )


def mask(
    table: Table,
    book: Sequence[int],
    own: Sequence[int],
    price: Sequence[int],
    fees: Sequence[int],
    bounds: Sequence[int],
    out: list[bool],
) -> None:
    """Fill `out` [A]: whether each action is allowed now. Hold always is. Arguments as of `refused`."""
    for a in range(len(table.op)):
        out[a] = (
            refused(
                table.op[a],
                table.side[a],
                table.pricing[a],
                table.size[a],
                table.reduce_only[a],
                book,
                own,
                price,
                fees,
                bounds,
            )
            == 0
        )
