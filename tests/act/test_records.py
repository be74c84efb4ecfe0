"""What an actor writes down, in a real database: before orders leave, behind them, and while the database is away."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from kflow.act.lease import Lease, LeaseLost
from kflow.act.orders import Fill, Intent, Order, State
from kflow.act.records import INTENT_S, Records, Run
from kflow.act.seat import Wish
from kflow.clock import ManualClock
from kflow.errors import DatabaseError, DataError
from kflow.session.chunks import MarketFacts
from kflow.store.postgres import Connection, connect
from kflow.testing.postgres import Database

RUN = uuid.UUID(int=7)
US = 1_700_000_000_000_000
FACTS = {
    "M": MarketFacts(
        "M",
        [{"start": "0.0100", "end": "0.9900", "step": "0.0100"}],
        event_ticker="E",
        fee_type="quadratic",
        fee_multiplier="1.5",
        close_time=datetime(2026, 1, 1, tzinfo=UTC),
        exchange_index=2,
    )
}


def intent(number: int = 1, *, market: str = "M", epoch: int = 1, **changed: Any) -> Intent:
    values: dict[str, Any] = {
        "run": RUN,
        "number": number,
        "market": market,
        "action": "BUY_NO passive 10",
        "side": 1,
        "price": 5500,
        "size": 1000,
        "immediate": False,
        "reduce_only": False,
        "expires_us": US + 60_000_000,
        "until_us": US + 600_000_000,
        "decided_us": US - 5,
        "version": 12,
        "digest": "0123456789abcdef",
        "epoch": epoch,
        "limits": "f" * 64,
    }
    return Intent(**(values | changed))


def fill(trade: str = "t1", size: int = 300, us: int = US + 50) -> Fill:
    return Fill(trade, us, 5500, size, 1234, taker=True)


def decision(number: int, **changed: Any) -> Any:
    seen = SimpleNamespace(version=9, digest="d" * 16)
    wish = Wish(0, 4500, 1000, True, False, 0, "")
    values = {"market": "M", "us": US + number, "number": number, "action": "BUY_YES 10", "seen": seen, "wish": wish}
    return SimpleNamespace(**(values | {"refusal": "", "order": None, "position": -250} | changed))


class Away:
    """Connections that can be refused, and told apart from those that stand."""

    def __init__(self, dsn: str) -> None:
        self.dsn, self.away, self.made = dsn, False, 0

    def __call__(self) -> Connection:
        if self.away:
            raise DatabaseError("the database is away")
        self.made += 1
        return connect(self.dsn, application_name="records", autocommit=True)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def conn(database: Database) -> Iterator[Connection]:
    with database.connect(autocommit=True) as connection:
        yield connection


@pytest.fixture
def away(database: Database) -> Away:
    return Away(database.login("kflow_writer"))


@pytest.fixture
def lease(database: Database, clock: ManualClock) -> Iterator[Lease]:
    held = Lease(lambda: database.connect(autocommit=True), "local", clock=clock)
    held.acquire()
    yield held
    held.release()


Start = Callable[..., Records]


def run(number: int = 7, **changed: Any) -> Run:
    values: dict[str, Any] = {"run": uuid.UUID(int=number), "venue": "local", "epoch": 1, "strategy": "hardcoded:hold"}
    return Run(**(values | {"limits": "f" * 64} | changed))


@pytest.fixture
def records(away: Away, lease: Lease, clock: ManualClock) -> Iterator[Records]:
    with Records(away, run(), FACTS, clock=clock, group=lambda market: f"group of {market}", most=20) as made:
        yield made


def cut(conn: Connection) -> None:
    """End every connection of the records, and wait until the server is rid of them."""
    conn.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'records'")


def one(conn: Connection, query: str) -> Any:
    row = conn.execute(query.encode()).fetchone()
    assert row is not None
    return row if len(row) > 1 else row[0]


# Orders.


def test_an_intent_is_there_before_it_is_sent(records: Records, conn: Connection) -> None:
    records.intend(intent())
    row = one(
        conn,
        "SELECT client_order_id::text, venue, ticker, side, direction, price_e4, size_e2, o.status, o.run, epoch,"
        " number, action, immediate, reduce_only, decided_us, book_version, observation, limits, shard, order_group,"
        " sent_us FROM rl_orders AS o JOIN rl_markets AS m ON m.id = o.market_id",
    )
    assert row == (
        *(intent().client_order_id, "local", "M", 1, 0, 5500, 1000, "stored", RUN, 1, 1, "BUY_NO passive 10", False),
        *(False, US - 5, 12, "0123456789abcdef", "f" * 64, 2, "group of M", None),
    )
    assert one(conn, "SELECT event_ticker, fee_multiplier::float, exchange_index FROM rl_markets") == ("E", 1.5, 2)


def test_one_decision_is_one_order(records: Records, conn: Connection) -> None:
    records.intend(intent())
    with pytest.raises(DataError, match="was stored before"):
        records.intend(intent())
    assert one(conn, "SELECT count(*) FROM rl_orders") == 1


def test_who_lost_the_lease_stores_nothing(records: Records, conn: Connection) -> None:
    conn.execute("UPDATE rl_actor_leases SET expires_at = clock_timestamp()")
    with pytest.raises(LeaseLost, match="epoch 1 does not hold the lease of local"):
        records.intend(intent())
    with pytest.raises(LeaseLost):
        records.intend(intent(epoch=2))
    assert one(conn, "SELECT count(*) FROM rl_orders") == 0


def test_what_is_not_stored_in_time_is_not_sent(records: Records, clock: ManualClock, database: Database) -> None:
    with database.connect() as other:
        other.execute("SELECT FROM rl_actor_leases FOR UPDATE")

        def late() -> None:
            clock.advance(INTENT_S + 0.1)
            other.rollback()

        threading.Timer(0.05, late).start()
        with pytest.raises(DatabaseError, match="took longer than 2 s, so it is not sent"):
            records.intend(intent())


def test_a_connection_that_died_meanwhile_is_made_anew(records: Records, away: Away, conn: Connection) -> None:
    cut(conn)
    records.intend(intent())
    assert away.made == 2
    assert one(conn, "SELECT count(*) FROM rl_orders") == 1


def test_no_order_leaves_without_a_database(records: Records, away: Away, conn: Connection) -> None:
    cut(conn)
    away.away = True
    with pytest.raises(DatabaseError):
        records.intend(intent())
    assert not records.status.connected
    away.away = False
    records.intend(intent(2))
    assert records.status.connected


def through(records: Records, order: Order, *states: tuple[State, int]) -> Order:
    for state, us in states:
        order = order.step(state, us, venue_id="v1" if state is State.RESTING else None)
        records.update(order)
    return order


def test_what_becomes_of_an_order_is_kept_with_its_times(records: Records, conn: Connection) -> None:
    records.intend(intent())
    order = through(records, Order(intent()), (State.SENT, US + 1), (State.RESTING, US + 40_001))
    records.fill(grown := order.filled_by(fill()), fill())
    records.stamped(order.intent.client_order_id, reached_us=US + 20, cancel_sent_us=US + 90_000, cancelled_us=US + 95)
    through(records, grown, (State.CANCELLED, US + 99_000))
    assert records.flush()
    row = one(
        conn,
        "SELECT status, venue_order_id, filled_e2, sent_us, answered_us, reached_us, cancel_sent_us,"
        " cancel_answered_us, cancelled_us, ended_us FROM rl_orders",
    )
    assert row == ("cancelled", "v1", 300, US + 1, US + 40_001, US + 20, US + 90_000, None, US + 95, US + 99_000)
    told = one(conn, "SELECT venue, trade_id, price_e4, size_e2, fee_e6, is_taker, venue_us FROM rl_fills")
    assert told == ("local", "t1", 5500, 300, 1234, True, US + 50)
    assert records.outcomes == {State.SENT: 1, State.RESTING: 1, State.CANCELLED: 1}
    assert (sum(records.ack_s.counts), records.ack_s.total_s) == (1, 0.04)


def test_moments_that_are_known_exactly_win(records: Records, conn: Connection) -> None:
    records.intend(intent())
    mine = intent().client_order_id
    order = through(records, Order(intent()), (State.SENT, US))
    records.stamped(mine, sent_us=US + 7)
    through(records, order, (State.RESTING, US + 100))
    records.stamped(mine, answered_us=US + 80)
    assert records.flush()
    assert one(conn, "SELECT sent_us, answered_us FROM rl_orders") == (US + 7, US + 80)


def test_no_answer_has_no_time(records: Records, conn: Connection) -> None:
    records.intend(intent())
    through(records, Order(intent()), (State.SENT, US), (State.UNKNOWN, US + 10), (State.RESTING, US + 9_000_000))
    assert records.flush()
    assert one(conn, "SELECT status, sent_us, answered_us FROM rl_orders") == ("resting", US, None)
    assert sum(records.ack_s.counts) == 0


def test_a_fill_counts_once_and_wins_over_a_cancellation(records: Records, conn: Connection) -> None:
    records.intend(intent(size=300))
    order = through(records, Order(intent(size=300)), (State.SENT, 1), (State.RESTING, 2), (State.CANCELLED, 3))
    filled = order.filled_by(fill())
    records.fill(filled, fill())
    records.fill(filled, fill())
    records.update(order)  # an earlier word that comes late
    assert records.flush()
    assert one(conn, "SELECT status, filled_e2 FROM rl_orders") == ("filled", 300)
    assert one(conn, "SELECT count(*) FROM rl_fills") == 1


def test_what_is_over_stays_over(records: Records, conn: Connection) -> None:
    records.intend(intent())
    resting = through(records, Order(intent()), (State.SENT, 1), (State.RESTING, 2))
    through(records, resting, (State.EXPIRED, 3))
    records.update(resting)
    assert records.flush()
    assert one(conn, "SELECT status FROM rl_orders") == "expired"


# While the database is away.


def test_what_cannot_be_stored_waits_and_is_stored_in_order(records: Records, away: Away, conn: Connection) -> None:
    records.intend(intent())
    away.away = True
    cut(conn)
    order = through(records, Order(intent()), (State.SENT, 1), (State.RESTING, 2))
    records.fill(order.filled_by(fill()), fill())
    assert not records.flush()
    assert records.status.waiting == 4
    assert one(conn, "SELECT status FROM rl_orders") == "stored"
    away.away = False
    assert records.flush()
    assert records.status.waiting == 0
    assert one(conn, "SELECT status, filled_e2, venue_order_id FROM rl_orders") == ("resting", 300, "v1")


def test_the_thread_stores_it_by_itself_when_the_database_is_back(
    records: Records, away: Away, conn: Connection
) -> None:
    records.intend(intent())
    away.away = True
    cut(conn)
    through(records, Order(intent()), (State.SENT, 1))
    while not records.status.errors:
        pass
    away.away = False
    while one(conn, "SELECT status FROM rl_orders") != "sent":
        pass


def test_where_too_much_waits_it_is_told(records: Records, away: Away, conn: Connection) -> None:
    records.intend(intent())
    away.away = True
    cut(conn)
    order = Order(intent()).step(State.SENT, 1)
    for _ in range(20):
        records.update(order)
    with pytest.raises(DatabaseError, match="20 rows of orders wait"):
        records.update(order)
    away.away = False
    assert records.flush()
    records.update(order)


def test_a_row_that_is_refused_for_good_ends_the_sending_of_orders(records: Records, conn: Connection) -> None:
    records.intend(intent())
    records.intend(intent(2))
    through(records, Order(intent(2)), (State.SENT, 5))
    through(records, Order(intent(3)), (State.SENT, 1))  # nobody stored it
    assert records.flush()
    with pytest.raises(DatabaseError, match="refused a row of rl_orders: there is no such row"):
        records.update(Order(intent()).step(State.SENT, 5))
    with pytest.raises(DatabaseError, match="refused a row"):
        records.intend(intent(4))
    assert records.status.refused == 1
    # The others are not lost over it.
    assert one(conn, "SELECT count(*) FROM rl_orders WHERE status = 'sent'") == 1


def test_an_end_stores_what_waits(away: Away, lease: Lease, clock: ManualClock, conn: Connection) -> None:
    with Records(away, run(), FACTS, clock=clock) as records:
        records.intend(intent())
        through(records, Order(intent()), (State.SENT, 1), (State.REFUSED, 2))
    assert one(conn, "SELECT status FROM rl_orders") == "refused"
    assert one(conn, "SELECT ended, ended_ns FROM rl_actor_runs") == ("stopped", clock.wall_ns())
    with pytest.raises(RuntimeError), Records(away, run(8), FACTS, clock=clock):
        raise RuntimeError("by accident")
    assert one(conn, "SELECT ended FROM rl_actor_runs ORDER BY run DESC") == "RuntimeError: by accident"


# Decisions.


def test_a_decision_is_kept_with_what_it_was_made_on(records: Records, conn: Connection) -> None:
    records.decided(decision(1, order=intent().client_order_id))
    records.decided(decision(2, wish=None, refusal="no order is open", action="CANCEL_ALL"))
    records.decided(decision(3, market="NEW"))
    assert records.flush()
    rows = conn.execute(
        "SELECT step_number, run, client_order_id::text, action_timestamp_ms, decided_us, action_type, side, price_e4,"
        " quantity_e2, position_before_e2, book_version, observation, refusal FROM rl_trading_actions ORDER BY 1"
    ).fetchall()
    common = (-250, 9, "d" * 16)
    assert rows[0] == (
        *(1, RUN, intent().client_order_id, US // 1000, US + 1, "BUY_YES 10", 0, 4500, 1000, *common, None),
    )
    assert rows[1] == (2, RUN, None, US // 1000, US + 2, "CANCEL_ALL", None, None, None, *common, "no order is open")
    assert one(conn, "SELECT ticker FROM rl_markets JOIN rl_trading_actions a ON a.market_id = rl_markets.id"
                     " WHERE step_number = 3") == "NEW"  # fmt: skip


def test_decisions_without_room_are_counted_and_told(
    records: Records, away: Away, conn: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    records.intend(intent())
    away.away = True
    cut(conn)
    for number in range(25):
        records.decided(decision(number))
    assert records.status.dropped == 5
    assert [r.getMessage() for r in caplog.records if "could not be written down" in r.message] == [
        f"{count} decisions could not be written down so far: there is no room for them" for count in (1, 2, 4)
    ]
    records.update(Order(intent()).step(State.SENT, 1))  # orders have room of their own
    away.away = False
    assert records.flush()
    assert one(conn, "SELECT count(*) FROM rl_trading_actions") == 20
    assert one(conn, "SELECT status FROM rl_orders") == "sent"


def test_a_decision_that_is_refused_stops_nobody(records: Records, conn: Connection) -> None:
    records.decided(decision(1, observation=None, position=2**70))
    records.decided(decision(2))
    assert records.flush()
    assert records.status.dropped == 1
    records.intend(intent())
    assert one(conn, "SELECT step_number FROM rl_trading_actions") == 2


# Reading back.


def test_orders_of_earlier_runs_come_back_as_they_were(
    records: Records, away: Away, clock: ManualClock, conn: Connection
) -> None:
    wanted = [intent(), intent(2, immediate=True, expires_us=None, until_us=None, reduce_only=True, side=0)]
    for each in wanted:
        records.intend(each)
    order = through(records, Order(wanted[0]), (State.SENT, US), (State.RESTING, US + 1))
    order = order.filled_by(fill())
    records.fill(order, fill())
    renewed = replace(order, intent=replace(order.intent, expires_us=US + 99_000_000))
    records.update(renewed)
    assert records.flush()
    with Records(away, run(8), FACTS, clock=clock) as later:
        known = later.known()
        assert later.known("demo") == {}
        assert later.known(since_us=clock.wall_ns() // 1000 + 1) == {}
        (told,) = later.fills_since(US + 50)
        assert later.fills_since(US + 51) == []
    assert set(known) == {each.client_order_id for each in wanted}
    first, second = (known[each.client_order_id] for each in wanted)
    assert (first.intent, first.state, first.venue_id, dict(first.fills)) == (
        *(renewed.intent, State.RESTING, "v1", {"t1": fill()}),
    )
    assert (second.intent, second.state, second.fills) == (wanted[1], State.STORED, {})
    assert told == (wanted[0].client_order_id, "M", 1, fill())


def test_a_row_that_was_altered_is_seen(records: Records, conn: Connection) -> None:
    records.intend(intent())
    conn.execute("UPDATE rl_orders SET number = 99")
    with pytest.raises(DataError, match="is not the one of its row"):
        records.known()


def test_what_an_account_has_is_kept(records: Records, conn: Connection) -> None:
    records.held(US, 12_500_000, {"M": -300, "N": 0})
    assert records.flush()
    assert one(conn, "SELECT run, venue_us, cash_e6, positions FROM rl_actor_holdings") == (
        *(RUN, US, 12_500_000, {"M": -300}),
    )


def test_a_run_cannot_begin_without_a_database(away: Away, clock: ManualClock) -> None:
    away.away = True
    with pytest.raises(DatabaseError), Records(away, run(), FACTS, clock=clock):
        pass


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE rl_orders SET price_e4 = 1",
        "UPDATE rl_orders SET epoch = 1",
        "UPDATE rl_orders SET decided_us = 1",
        "UPDATE rl_actor_runs SET strategy = ''",
        "UPDATE rl_actor_holdings SET cash_e6 = 1",
        "UPDATE rl_trading_actions SET refusal = ''",
        "DELETE FROM rl_actor_runs",
        "DELETE FROM rl_trading_actions",
    ],
)
def test_who_writes_cannot_rewrite(away: Away, statement: str) -> None:
    with away() as mine, pytest.raises(psycopg.errors.InsufficientPrivilege):
        mine.execute(statement.encode())
