"""A run of the actor as a log: what the records stored, told by the tables, explained by the simulator."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kflow.act.desk import Desk
from kflow.act.lease import Lease
from kflow.act.orders import Fill, Intent, Order, State
from kflow.act.purse import Purse
from kflow.act.records import Records, Run
from kflow.clock import ManualClock
from kflow.errors import UsageError
from kflow.evaluate.parity import log
from kflow.evaluate.parity.log import AccountLog, Holding, read_log, write_log
from kflow.evaluate.parity.tables import NEVER_LEFT, account_log, find_run
from kflow.market.fees import FeeSchedule
from kflow.store.postgres import Connection, connect
from kflow.testing.living import Silent
from kflow.testing.postgres import Database

RUN = uuid.UUID("0000abcd-0000-4000-8000-000000000007")
US = 1_700_000_000_000_000


@pytest.fixture
def conn(database: Database) -> Iterator[Connection]:
    with database.connect(autocommit=True) as connection:
        yield connection


Start = Callable[..., Records]


@pytest.fixture
def records(database: Database) -> Iterator[Records]:
    clock = ManualClock()
    lease = Lease(lambda: database.connect(autocommit=True), "local", clock=clock)
    run = Run(run=RUN, venue="local", epoch=lease.acquire(), strategy="hardcoded:join", limits="f" * 64)
    with Records(lambda: connect(database.dsn, autocommit=True), run, {}, clock=clock) as made:
        yield made
    lease.release()


def intent(number: int, **changed: Any) -> Intent:
    values: dict[str, Any] = {"action": "x", "side": 1, "price": 4000, "size": 500, "immediate": False}
    values |= {"version": 1, "digest": "d" * 16, "epoch": 1, "limits": "f" * 64, "decided_us": US}
    return Intent(run=RUN, number=number, market="M", **(values | changed))


def ran(records: Records, made: Intent, *steps: State | Fill, every_us: int = 1000) -> Order:
    """An order that went through these, a millisecond each, as a desk tells of it."""
    records.intend(made)
    order, us = Order(made), US
    for step in steps:
        us += every_us
        if isinstance(step, Fill):
            order = order.filled_by(step)
            records.fill(order, step)
        else:
            venue_id = f"v{made.number}" if step is State.RESTING else None
            order = order.step(step, us, venue_id=venue_id, reason="why" if step is State.REFUSED else "")
            records.update(order)
    return order


def fill(trade: str, us: int, size: int = 500) -> Fill:
    return Fill(trade, us, 3900, size, 700, taker=False)


def test_what_a_run_did(records: Records, conn: Connection) -> None:
    records.held(US, 10_000_000, {"M": 100})
    order = ran(records, intent(1, expires_us=US + 60_000_000), State.SENT, State.RESTING, fill("t1", US + 5000, 200))
    mine = order.intent.client_order_id
    records.stamped(mine, cancel_sent_us=US + 6000, cancel_answered_us=US + 8000)
    records.update(order.step(State.CANCELLED, US + 8500))
    ran(records, intent(2, immediate=True, reduce_only=True), State.SENT, State.RESTING, fill("t2", US + 1700))
    ran(records, intent(3), State.SENT, State.REFUSED)
    ran(records, intent(4, immediate=True), State.SENT, State.CANCELLED)
    ran(records, intent(5, expires_us=US + 4_000_321), State.SENT, State.RESTING, State.EXPIRED)
    ran(records, intent(6), State.SENT, State.UNKNOWN, State.ABSENT)
    records.intend(intent(7))  # it was stored, and never sent
    records.held(US + 1, 1, {})
    records.held(US + 9000, 9_000_000, {"M": -600})
    assert records.flush()
    conn.execute("UPDATE rl_markets SET settlement_value_e4 = 10000")
    found = account_log(conn, RUN)
    assert (found.before, found.after) == (
        Holding(US, 10_000_000, {"M": 100}),
        Holding(US + 9000, 9_000_000, {"M": -600}),
    )
    assert (found.settled, found.source) == ({"M": 10_000}, f"run {RUN}")
    orders = {each.client: each for each in found.orders}
    assert len(orders) == 6
    first, second, third, fourth, fifth, sixth = (orders[intent(n).client_order_id] for n in range(1, 7))
    common: dict[str, Any] = {
        "market": "M",
        "side": 1,
        "price": 4000,
        "size": 500,
        "guessed": True,
        "sent_us": US + 1000,
    }
    answered: dict[str, Any] = {**common, "us": US + 1500, "answered_us": US + 2000}
    assert first == log.Order(
        order="v1",
        client=mine,
        expires_us=US + 60_000_000,
        cancel_sent_us=US + 6000,
        cancelled_us=US + 7000,
        fills=(log.Fill("t1", US + 5000, 3900, 200, False, 700),),
        **answered,
    )
    assert (second.immediate, second.reduce_only, second.cancelled_us, second.got) == (True, True, None, 500)
    assert third == log.Order(order=third.order, client=third.order, refused="why", **answered)
    assert third.dead_on_arrival
    assert (fourth.cancelled_us, fourth.dead_on_arrival) == (fourth.us, True)
    assert (fifth.cancelled_us, fifth.ended_by_venue) == (US + 4_000_000, True)
    assert (sixth.refused, sixth.us, sixth.answered_us) == ("the venue never had it", US + 1000, None)


def test_what_the_venue_says_of_an_order_wins(records: Records, conn: Connection) -> None:
    order = ran(records, intent(1), State.SENT, State.RESTING)
    records.stamped(order.intent.client_order_id, reached_us=US + 1234)
    # Without a stamp, a cancellation was there when its answer was.
    records.update(order.step(State.CANCELLED, US + 1100))
    other = ran(records, intent(2), State.SENT, State.RESTING)
    moments = {"cancel_sent_us": US + 6000, "cancel_answered_us": US + 8000, "cancelled_us": US + 6100}
    records.stamped(other.intent.client_order_id, reached_us=US + 1235, **moments)
    records.update(other.step(State.CANCELLED, US + 8500))
    assert records.flush()
    found, second = account_log(conn, RUN).orders
    assert (found.us, found.guessed, found.cancelled_us) == (US + 1234, False, US + 1234)
    assert (second.us, second.cancelled_us) == (US + 1235, US + 6100)


async def test_an_order_that_never_left_is_none(records: Records, conn: Connection) -> None:
    purses = {"M": Purse("M", 1_000_000, FeeSchedule.parse("quadratic", 1))}
    desk = Desk(Silent(), records, purses, clock=ManualClock(), may_send=lambda _: False)
    order = await desk.submit(intent(1))
    assert (order.state, order.reason) == (State.REFUSED, NEVER_LEFT)
    assert records.flush()
    assert account_log(conn, RUN).orders == ()


def test_it_is_written_and_read_as_any_log(records: Records, conn: Connection, tmp_path: Path) -> None:
    records.held(US, 10_000_000, {})
    ran(records, intent(1), State.SENT, State.RESTING, fill("t1", US + 5000))
    records.held(US + 9000, 9_000_000, {"M": -500})
    assert records.flush()
    found = account_log(conn, RUN)
    write_log(tmp_path / "log", found)
    assert replace(read_log(tmp_path / "log"), source=found.source) == found


def test_a_run_without_orders(records: Records, conn: Connection) -> None:
    del records
    assert account_log(conn, RUN) == AccountLog((), source=f"run {RUN}")


def begin(conn: Connection, run: uuid.UUID, started_ns: int) -> None:
    conn.execute(
        "INSERT INTO rl_actor_runs (run, venue, epoch, strategy, limits, kflow_version, host, started_ns)"
        " VALUES (%s, 'local', 1, 'x', 'f', '0', 'here', %s)",
        [run, started_ns],
    )


def test_a_run_is_found_by_its_beginning(records: Records, conn: Connection) -> None:
    del records
    later = uuid.UUID("0000abce-0000-4000-8000-000000000008")
    begin(conn, later, 2**62)
    assert find_run(conn, "last") == later
    assert find_run(conn, str(RUN).upper()) == RUN
    assert find_run(conn, "0000abcd") == RUN


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0000", "several runs begin with 0000"),
        ("1234", "there is no run 1234"),
        ("", "is no run"),
        ("%", "is no run"),
        ("'; DROP TABLE rl_orders;--", "is no run"),
    ],
)
def test_what_is_no_run_is_refused(records: Records, conn: Connection, text: str, words: str) -> None:
    del records
    begin(conn, uuid.UUID("0000abce-0000-4000-8000-000000000008"), 2**62)
    with pytest.raises(UsageError, match=words):
        find_run(conn, text)


def test_no_run_at_all(conn: Connection) -> None:
    with pytest.raises(UsageError, match="there is no run last"):
        find_run(conn, "last")
