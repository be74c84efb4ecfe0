"""What an actor has, for others to see: orders that rest, positions, cash and profit. Units as in orders.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

import msgspec

from kflow.act.orders import Account, Order, State

if TYPE_CHECKING:
    from kflow.act.actor import Actor

MOST: Final = 200  # orders, and positions, that are told; how many are left out is told, too


@runtime_checkable
class KnowsQueue(Protocol):
    """A venue that keeps the queues itself, as paper does."""

    def ahead(self, venue_id: str) -> int | None:
        """Contracts, 1e-2, that trade before a resting order."""


class Resting(msgspec.Struct, frozen=True):
    """An order that rests at the venue."""

    id: str  # client_order_id
    market: str
    side: int
    price: int  # of its side
    left: int
    ahead: int | None  # contracts that trade before it, 1e-2; None where nobody knows


class Holdings(msgspec.Struct, frozen=True):
    """What an actor has at one moment. None: not known, or not yet."""

    orders: list[Resting] = []
    orders_left_out: int = 0
    under_way: int = 0  # orders of which it is not known whether they rest
    positions: dict[str, int] | None = None  # YES positive
    positions_left_out: int = 0
    cash: int | None = None  # with what open orders hold back
    # Of this run, after fees, with what is held counted at what it could be sold for.
    profit: int | None = None


def holdings(actor: Actor, account: Account | None) -> Holdings:
    """What it has now. `account`: None before the venue said what there is."""
    orders = list(actor.desk.live())
    resting = [order for order in orders if order.state is State.RESTING]
    held = {} if account is None else {name: size for name, size in account.positions.items() if size}
    day = actor.day
    return Holdings(
        orders=[_resting(order, actor.desk.venue) for order in resting[:MOST]],
        orders_left_out=max(len(resting) - MOST, 0),
        under_way=len(orders) - len(resting),
        positions=None if account is None else dict(sorted(held.items())[:MOST]),
        positions_left_out=max(len(held) - MOST, 0),
        cash=None if account is None else account.cash,
        profit=None if day.number < 0 else day.before + day.today,
    )


def _resting(order: Order, venue: object) -> Resting:
    intent = order.intent
    ahead = None
    if isinstance(venue, KnowsQueue) and order.venue_id is not None:
        ahead = venue.ahead(order.venue_id)
    return Resting(intent.client_order_id, intent.market, intent.side, intent.price, order.left, ahead)
