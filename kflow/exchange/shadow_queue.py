"""One level of a public book that others move, and the own orders that wait in it. Pure; the rules: see `shadow`."""

from __future__ import annotations

from typing import Final

from kflow.exchange.orders import Order


class Place:
    """An own order in its queue."""

    __slots__ = ("ahead", "order", "spare")

    def __init__(self, order: Order, ahead: int, spare: int) -> None:
        self.order: Final = order
        self.ahead = ahead  # public contracts that trade before it
        self.spare = spare  # what changes of the level's moment took from `ahead` that no trade has accounted for


class ShadowQueue:
    """What is known of a public level beside its size: own orders in it, and what own orders took of it."""

    __slots__ = ("moment", "places", "shown", "taken", "unexplained")

    def __init__(self, shown: int) -> None:
        self.places: list[Place] = []  # first come first; what is ahead never falls along it
        self.shown = shown  # public size, message by message: a batch is in the book before we see any of it
        self.taken = 0
        self.moment = 0  # ms of the last change or trade
        self.unexplained = 0  # by how much it shrank in that ms beyond its trades; negative: the change is yet to come

    @property
    def available(self) -> int:
        return max(0, self.shown - self.taken)

    def begin(self, moment: int) -> None:
        """What a change took and its trade would take is told apart within one ms only; without one, never."""
        if moment != self.moment or not moment:
            self.moment, self.unexplained = moment, 0
            for place in self.places:
                place.spare = 0

    def show(self, size: int) -> None:
        """The size is another: what own orders took leaves last, and no more can be ahead than there is."""
        self.shown = size
        self.taken = min(self.taken, size)
        for place in self.places:
            excess = place.ahead - size
            if excess > 0:
                place.ahead = size
                place.spare += excess

    def change(self, change: int, moment: int) -> None:
        """The public size changed."""
        self.begin(moment)
        if change < 0:
            self.unexplained -= change
        self.show(max(0, self.shown + change))

    def renew(self, size: int) -> None:
        """Forget what was known: it is published anew."""
        self.shown, self.taken, self.moment, self.unexplained = size, 0, 0, 0
        for place in self.places:
            place.ahead, place.spare = size, 0

    def join(self, order: Order) -> None:
        last = self.places[-1].ahead if self.places else 0
        self.places.append(Place(order, max(self.available, last), max(0, self.unexplained)))

    def eat(self, size: int, moment: int) -> list[tuple[Order, int]]:
        """A trade takes from the front of the queue: which own orders it reaches, and for how much."""
        self.begin(moment)
        self.unexplained -= size
        reached: list[tuple[Order, int]] = []
        gone, left = 0, size
        for place in self.places:
            front = min(left, place.ahead + place.spare - gone)
            gone, left = gone + front, left - front
            if not left:
                break
            reached.append((place.order, min(left, place.order.remaining)))
            left -= reached[-1][1]
        for place in self.places:
            before = max(0, place.ahead + place.spare - gone)
            place.ahead = min(place.ahead, before)
            place.spare = before - place.ahead
        return reached

    def take(self, public: int) -> None:
        """Own orders took so much of the public ones, from the front."""
        self.taken += public
        for place in self.places:
            place.ahead = max(0, place.ahead - public)

    def queue(self) -> list[tuple[int, Order | None]]:
        """Sizes in order of priority, with the own order that each is; None where it is public."""
        pieces: list[tuple[int, Order | None]] = []
        counted, available = 0, self.available
        for place in self.places:
            ahead = min(place.ahead, available)
            if ahead > counted:
                pieces.append((ahead - counted, None))
                counted = ahead
            pieces.append((place.order.remaining, place.order))
        if available > counted:
            pieces.append((available - counted, None))
        return pieces
