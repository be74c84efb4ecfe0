"""What an actor tells others of what it has: what rests, what is held, and null for what it does not know."""

from __future__ import annotations

from pathlib import Path

import pytest

from kflow.act.holdings import MOST, Holdings, Resting, holdings
from kflow.act.orders import Account, Intent, Order, State
from kflow.act.pulse import Pulse, read
from kflow.testing.living import RUN, Living, Silent


class Keeper(Silent):
    """A venue that knows its queues."""

    def ahead(self, venue_id: str) -> int | None:
        return 100 * int(venue_id[1:])


@pytest.fixture
def living(tmp_path: Path) -> Living:
    return Living(tmp_path)


def rest(living: Living, number: int, market: str = "A", side: int = 0) -> None:
    intent = Intent(
        run=RUN, number=number, market=market, action="JOIN", side=side, price=4500, size=250, immediate=False,
        decided_us=living.us, version=1, digest="d" * 16, epoch=3, limits="f" * 64,
    )  # fmt: skip
    order = Order(intent).step(State.SENT, living.us).step(State.RESTING, living.us, venue_id=f"v{number}")
    living.desk._put(order)


async def test_nothing_is_known_before_the_venue_said_it(living: Living) -> None:
    assert holdings(living.actor, None) == Holdings(under_way=0)
    assert holdings(living.actor, None).positions is None


async def test_what_rests_is_told_and_what_may_rest_is_counted(living: Living) -> None:
    rest(living, 1)
    rest(living, 2, "B", side=1)
    await living.send("A", number=3)  # nothing is heard of it
    held = holdings(living.actor, Account(5_000_000, {"A": 0, "B": -300}))
    assert [(order.market, order.side, order.price, order.left, order.ahead) for order in held.orders] == [
        ("A", 0, 4500, 250, None),
        ("B", 1, 4500, 250, None),
    ]
    assert (held.under_way, held.positions, held.cash) == (1, {"B": -300}, 5_000_000)


async def test_a_venue_that_keeps_the_queue_says_what_is_ahead(living: Living) -> None:
    living.desk.venue = Keeper()  # type: ignore[misc]
    rest(living, 7)
    (order,) = holdings(living.actor, None).orders
    assert order.ahead == 700


async def test_profit_is_of_the_whole_run(living: Living) -> None:
    assert holdings(living.actor, None).profit is None  # no book was looked at
    living.actor.day.note(1_000_000, living.us)
    living.actor.day.note(2_500_000, living.us + 86_400_000_000)  # the next day
    assert holdings(living.actor, None).profit == 2_500_000


async def test_it_is_bounded_and_says_what_is_left_out(living: Living) -> None:
    for number in range(MOST + 3):
        rest(living, number)
    held = holdings(living.actor, Account(0, {f"M{number}": 100 for number in range(MOST + 5)}))
    assert (len(held.orders), held.orders_left_out) == (MOST, 3)
    assert (len(held.positions or {}), held.positions_left_out) == (MOST, 5)
    living.work()
    pulse = Pulse(living.vitals(), living.data)
    pulse.write(pulse.look())
    assert (living.data / "actor" / "pulse.json").stat().st_size < 64 * 1024


async def test_others_read_it_in_the_file(living: Living) -> None:
    rest(living, 1)
    living.work()
    pulse = Pulse(living.vitals(), living.data)
    pulse.write(pulse.look())
    beat = read(living.data, enabled=True, clock=living.clock).beat
    assert beat is not None
    (order,) = beat.holdings.orders
    assert isinstance(order, Resting)
    assert (order.market, order.left) == ("A", 250)
