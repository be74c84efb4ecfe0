"""Orders as an engine holds them, and what became of one."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from kflow.market.events import Side
from kflow.units import DOLLAR, Price, Size

_NOTHING: Final = Size(0)


class TimeInForce(StrEnum):
    """How long an order lives. An expiry is its owner's affair: the engine is told to cancel."""

    GTC = "good_till_canceled"
    IOC = "immediate_or_cancel"
    FOK = "fill_or_kill"


class SelfTrade(StrEnum):
    """What happens before an order would meet one of the same owner."""

    TAKER = "taker_at_cross"  # the incoming order ends; what it matched before stands
    MAKER = "maker"  # the resting order is canceled, the incoming one goes on


class Reason(StrEnum):
    """Why an order last changed, in the venue's words (`last_update_reason`)."""

    CANCEL = ""  # asked for by the owner: the venue names no reason
    DECREASE = "Decrease"  # made smaller by its owner
    AMEND = "Amend"  # price or size changed by its owner
    MARGIN = "MarginCancel"  # a dearer fee is not there in cash
    SELF_TRADE = "SelfTradeCancel"  # it would have met an order of the same owner
    EXPIRY = "ExpiryCancel"  # its time was over
    CLOSE = "CloseCancel"  # the market closed
    HALT = "HaltCancel"  # trading paused and it asked to go then, or its market went on after a pause
    TRADE = "Trade"  # filled, wholly or in part
    POST_ONLY = "PostOnlyCrossCancel"  # post-only, and it would have traded
    REDUCE_ONLY = "ReduceOnlyCancel"  # reduce-only, and there is nothing to reduce


class Kill(StrEnum):
    """Why an order never took effect: the book is as it was."""

    POST_ONLY_CROSS = "post only cross"  # post-only, and it would have traded
    FILL_OR_KILL = "fill or kill insufficient resting volume"  # less rests than all of it


class Order:
    """One limit order. The engine moves `remaining`, `filled` and `resting`; its owner keeps it to name it by.

    `owner`: two orders of one owner (the same object) never trade with each other; None owns nothing in common.
    """

    __slots__ = (
        "filled",
        "own_price",
        "owner",
        "post_only",
        "price",
        "remaining",
        "resting",
        "self_trade",
        "side",
        "time_in_force",
    )

    def __init__(
        self,
        side: Side,
        price: Price,
        size: Size,
        *,
        owner: object = None,
        time_in_force: TimeInForce = TimeInForce.GTC,
        self_trade: SelfTrade = SelfTrade.TAKER,
        post_only: bool = False,
    ) -> None:
        """`side` YES buys YES (a bid), NO sells it (an ask); `price` is the YES price either way."""
        self.side: Final = side
        self.price = price
        # As a bid of its own side: what the venue's book shows it at, and higher is better on both sides.
        self.own_price: Price = DOLLAR - price if side else price  # type: ignore[assignment]
        self.remaining = size
        self.filled = _NOTHING
        self.resting = False
        self.owner: Final = owner
        self.time_in_force: Final = time_in_force
        self.self_trade: Final = self_trade
        self.post_only: Final = post_only

    def __repr__(self) -> str:
        word = "bid" if self.side == Side.YES else "ask"
        return f"Order({word} {self.remaining} at {self.price}, filled {self.filled})"


# One level's change in the venue's two bid sides: side, that side's own price, signed size, the order that caused it.
Change = tuple[Side, Price, int, Order]
# The resting order, the YES price, the size. The other party is the order that came in.
Match = tuple[Order, Price, Size]


class Execution:
    """What one command did to a book, in order. All of it happened at one instant."""

    __slots__ = ("changes", "ended", "killed", "matches")

    def __init__(self, killed: Kill | None = None) -> None:
        self.changes: Final[list[Change]] = []  # one per order and level touched; matches have theirs too
        self.matches: Final[list[Match]] = []
        # Orders of which something was canceled, how much, and why. What an order loses so, it loses for good: it ends.
        self.ended: Final[list[tuple[Order, Size, Reason]]] = []
        self.killed: Final = killed

    @property
    def matched(self) -> Size:
        return Size(sum([size for _, _, size in self.matches]))
