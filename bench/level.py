"""One level's queue in five containers: how long it takes that an order joins at the back and another one leaves.

    python bench/level.py [--quick]

Four of five that leave do so from any place, as cancels do; the fifth from the front, as trades make them. The queue
keeps its length throughout. The JSON's ratio is the dict's time over that of the fastest other, averaged (as a product)
over the lengths.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

from measure import Timing, alternate, arguments, repeats, report

LENGTHS = (5, 50, 500, 5_000)
FRONT = -1
# Dead entries that a queue may hold before it is compacted.
DEAD = 64


class Order:
    """What the containers need of one: a mark for the dead, links for the linked."""

    __slots__ = ("after", "before", "dead")

    def __init__(self) -> None:
        self.dead = False
        self.before = self.after = self


class Queue(Protocol):
    def join(self, order: Order) -> None: ...
    def first(self) -> Order: ...
    def leave(self, order: Order) -> None: ...
    def __iter__(self) -> Iterator[Order]: ...


class InDict:
    """What the engine does."""

    def __init__(self) -> None:
        self.orders: dict[Order, None] = {}

    def join(self, order: Order) -> None:
        self.orders[order] = None

    def first(self) -> Order:
        return next(iter(self.orders))

    def leave(self, order: Order) -> None:
        del self.orders[order]

    def __iter__(self) -> Iterator[Order]:
        return iter(self.orders)


class InDeque:
    """Leaving shifts what is behind, after a search."""

    def __init__(self) -> None:
        self.orders: deque[Order] = deque()

    def join(self, order: Order) -> None:
        self.orders.append(order)

    def first(self) -> Order:
        return self.orders[0]

    def leave(self, order: Order) -> None:
        self.orders.remove(order)

    def __iter__(self) -> Iterator[Order]:
        return iter(self.orders)


class InList(InDeque):
    """The same in a list."""

    def __init__(self) -> None:
        self.orders: list[Order] = []  # type: ignore[assignment]


class WithDeadEntries:
    """A list in which those who left stay, marked, until half of it is dead."""

    def __init__(self) -> None:
        self.orders: list[Order] = []
        self.head = self.dead = 0

    def join(self, order: Order) -> None:
        self.orders.append(order)

    def first(self) -> Order:
        while self.orders[self.head].dead:
            self.head += 1
        return self.orders[self.head]

    def leave(self, order: Order) -> None:
        order.dead = True
        self.dead += 1
        if self.dead > DEAD and self.dead * 2 > len(self.orders):
            self.orders = [other for other in self.orders if not other.dead]
            self.head = self.dead = 0

    def __iter__(self) -> Iterator[Order]:
        return (order for order in self.orders if not order.dead)


class Linked:
    """A ring of orders that know their neighbours."""

    def __init__(self) -> None:
        self.root = Order()

    def join(self, order: Order) -> None:
        root = self.root
        last = root.before
        last.after = root.before = order
        order.before, order.after = last, root

    def first(self) -> Order:
        return self.root.after

    def leave(self, order: Order) -> None:
        order.before.after, order.after.before = order.after, order.before

    def __iter__(self) -> Iterator[Order]:
        order = self.root.after
        while order is not self.root:
            yield order
            order = order.after


CONTAINERS: dict[str, Callable[[], Queue]] = {
    "dict": InDict,
    "list, dead entries": WithDeadEntries,
    "linked list": Linked,
    "list": InList,
    "deque": InDeque,
}


def plan(length: int, count: int, seed: int = 5) -> list[int]:
    """Who leaves after each join, by number of arrival; FRONT: whoever is first."""
    rng = random.Random(seed)
    queue = dict.fromkeys(range(length))
    anyone = list(queue)
    leaving = []
    for name in range(length, length + count):
        queue[name] = None
        anyone.append(name)
        front = rng.random() < 0.2
        if front:
            gone = next(iter(queue))
        else:
            while True:  # those who left by the front are struck off here
                place = rng.randrange(len(anyone))
                gone, anyone[place] = anyone[place], anyone[-1]
                anyone.pop()
                if gone in queue:
                    break
        del queue[gone]
        leaving.append(FRONT if front else gone)
    return leaving


def played(make: Callable[[], Queue], length: int, leaving: list[int]) -> list[int]:
    """Who is left at the end."""
    queue = make()
    orders = [Order() for _ in range(length + len(leaving))]
    play(queue, orders, length, leaving)
    names = {order: name for name, order in enumerate(orders)}
    return [names[order] for order in queue]


def play(queue: Queue, orders: list[Order], length: int, leaving: list[int]) -> None:
    join, first, leave = queue.join, queue.first, queue.leave
    for order in orders[:length]:
        join(order)
    for order, name in zip(orders[length:], leaving, strict=True):
        join(order)
        leave(first() if name == FRONT else orders[name])


def case(make: Callable[[], Queue], length: int, leaving: list[int]) -> Callable[[], int]:
    def run() -> int:
        play(make(), [Order() for _ in range(length + len(leaving))], length, leaving)
        return len(leaving)

    return run


def main() -> None:
    options = arguments("A level's queue in five containers.", full=9, quick=3).parse_args()
    medians: dict[str, Timing] = {}
    ratios = {}
    for length in LENGTHS:
        leaving = plan(length, 20_000 if options.quick else 60_000)
        if len({tuple(played(make, length, leaving)) for make in CONTAINERS.values()}) != 1:
            raise SystemExit("the containers disagree")
        cases = {f"{name} of {length}": case(make, length, leaving) for name, make in CONTAINERS.items()}
        found = alternate(cases, repeats(options), warm_up=False)
        medians |= found
        others = [timing.us_each for name, timing in found.items() if not name.startswith("dict")]
        ratios[length] = found[f"dict of {length}"].us_each / min(others)
    report("level", medians, math.prod(ratios.values()) ** (1 / len(ratios)), ratios=ratios)


if __name__ == "__main__":
    main()
