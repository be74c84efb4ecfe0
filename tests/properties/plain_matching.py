"""Price-time priority as one would explain it to a person: the slow model that the engine is held against.

It shares nothing with the engine but the words of `orders.py`: prices are YES prices, bids and asks are sorted by them,
orders are slips with a name, and a level is a list from which slips are deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, field

from sortedcontainers import SortedDict

from kflow.exchange.orders import Kill, Reason, SelfTrade, TimeInForce


@dataclass
class Slip:
    """What one order still wants."""

    name: int
    buys: bool
    price: int
    left: int
    owner: str | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    self_trade: SelfTrade = SelfTrade.TAKER
    post_only: bool = False


@dataclass
class Outcome:
    """What one command did, by the names of orders."""

    trades: list[tuple[int, int, int]] = field(default_factory=list)  # resting order, YES price, size
    ended: list[tuple[int, int, Reason]] = field(default_factory=list)  # order, size it lost, why
    killed: Kill | None = None


class PlainBook:
    """One market."""

    def __init__(self) -> None:
        self.bids: SortedDict[int, list[Slip]] = SortedDict()
        self.asks: SortedDict[int, list[Slip]] = SortedDict()
        self.resting: dict[int, Slip] = {}

    def submit(self, slip: Slip) -> Outcome:
        outcome = Outcome()
        if slip.post_only and any(self._met_by(slip)):
            outcome.killed = Kill.POST_ONLY_CROSS
        elif slip.time_in_force is TimeInForce.FOK and not self._would_fill(slip):
            outcome.killed = Kill.FILL_OR_KILL
        else:
            self._enter(slip, outcome)
        return outcome

    def cancel(self, name: int, reason: Reason = Reason.CANCEL) -> Outcome:
        slip = self.resting[name]
        self._leave(slip)
        return Outcome(ended=[(name, slip.left, reason)])

    def decrease(self, name: int, left: int) -> Outcome:
        if left == 0:
            return self.cancel(name, Reason.DECREASE)
        self.resting[name].left = left
        return Outcome()

    def amend(self, name: int, price: int, left: int) -> Outcome:
        slip = self.resting[name]
        if price == slip.price and left <= slip.left:
            return self.decrease(name, left)
        moved = copy(slip)
        moved.price, moved.left = price, left
        if moved.post_only and any(self._met_by(moved)):
            return Outcome(killed=Kill.POST_ONLY_CROSS)
        outcome = Outcome()
        self._leave(slip)
        self._enter(moved, outcome)
        return outcome

    def cancel_where(self, leaves: Callable[[Slip], bool], reason: Reason) -> Outcome:
        outcome = Outcome()
        for slip in [*self.queue(buys=True), *self.queue(buys=False)]:
            if leaves(slip):
                outcome.ended += self.cancel(slip.name, reason).ended
        return outcome

    def queue(self, *, buys: bool) -> list[Slip]:
        """Every resting slip of a side in the order in which they trade."""
        levels = reversed(self.bids.values()) if buys else self.asks.values()
        return [slip for level in levels for slip in level]

    def levels(self, *, buys: bool) -> dict[int, int]:
        """Contracts at each YES price."""
        return {price: sum(slip.left for slip in level) for price, level in (self.bids if buys else self.asks).items()}

    def _met_by(self, slip: Slip) -> Iterator[Slip]:
        """The resting slips that a slip may trade with, best first."""
        if slip.buys:
            return (other for price, level in self.asks.items() if price <= slip.price for other in level)
        return (other for price, level in reversed(self.bids.items()) if price >= slip.price for other in level)

    def _would_fill(self, slip: Slip) -> bool:
        left = slip.left
        for other in self._met_by(slip):
            if other.owner is None or other.owner != slip.owner:
                left -= other.left
            elif slip.self_trade is SelfTrade.TAKER:
                break
            if left <= 0:
                return True
        return False

    def _enter(self, slip: Slip, outcome: Outcome) -> None:
        for other in list(self._met_by(slip)):
            if slip.left == 0:
                break
            if other.owner is not None and other.owner == slip.owner:
                if slip.self_trade is SelfTrade.TAKER:
                    outcome.ended.append((slip.name, slip.left, Reason.SELF_TRADE))
                    return
                outcome.ended += self.cancel(other.name, Reason.SELF_TRADE).ended
                continue
            size = min(slip.left, other.left)
            outcome.trades.append((other.name, other.price, size))
            slip.left -= size
            other.left -= size
            if other.left == 0:
                self._leave(other)
        if slip.left and slip.time_in_force is TimeInForce.GTC:
            (self.bids if slip.buys else self.asks).setdefault(slip.price, []).append(slip)
            self.resting[slip.name] = slip
        elif slip.left:
            outcome.ended.append((slip.name, slip.left, Reason.CANCEL))

    def _leave(self, slip: Slip) -> None:
        side = self.bids if slip.buys else self.asks
        level = side[slip.price]
        del level[next(place for place, other in enumerate(level) if other is slip)]
        if not level:
            del side[slip.price]
        del self.resting[slip.name]
