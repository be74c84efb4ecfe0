"""Orders, fills and decisions in the tables. An intent is there before it is sent; the rest is written behind it.

So what becomes of an order waits for no disk: after a crash the venue tells it, and the tables tell of every order that
may have left.
"""

from __future__ import annotations

import socket
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, LiteralString, NamedTuple, Self

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

import kflow
from kflow.act.behind import Behind, BehindStatus, Row, Values, be_patient
from kflow.act.lease import stored
from kflow.act.orders import ENDS, Fill, Intent, Order, State
from kflow.clock import NS_PER_S, Clock
from kflow.errors import DatabaseError, DataError
from kflow.record.markets import market_of
from kflow.record.status import Histogram
from kflow.session.chunks import MarketFacts
from kflow.store.postgres import Connection, reporting
from kflow.store.sessions import Market, upsert_market
from kflow.store.sqlfiles import queries

if TYPE_CHECKING:
    from kflow.act.actor import Decision

# An intent that took longer to store was decided on a book that is too old by then.
INTENT_S: Final = 2.0
MOST: Final = 10_000  # rows that wait
_READ_S: Final = 60.0
ACK_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# Of these the venue gave an answer to the order's sending.
_ANSWERS: Final = frozenset({State.RESTING, State.FILLED, State.CANCELLED, State.REFUSED})
_INTENT: Final = ("run", "number", "market", "action", "side", "price", "size", "immediate", "reduce_only",
                  "expires_us", "until_us", "decided_us", "epoch", "limits")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of an actor. `limits`: hash of its limits file; `model_sha256`: of the weights, if a model decides."""

    run: uuid.UUID
    venue: str
    epoch: int
    strategy: str
    limits: str
    model_sha256: str | None = None


class StoredFill(NamedTuple):
    """A fill as the tables have it."""

    client_order_id: str
    market: str
    side: int
    fill: Fill


class Records:
    """`desk.Records` and `actor.Diary` for one run. Calls may block for a query: make them from a thread."""

    def __init__(
        self,
        connect: Callable[[], Connection],
        run: Run,
        facts: Mapping[str, MarketFacts],
        *,
        clock: Clock,
        group: Callable[[str], str | None] = lambda _: None,
        most: int = MOST,
    ) -> None:
        """`connect` opens an autocommit connection; `group`: of a market the order group its orders are sent in.

        `most`: rows that may wait for the database, and as many decisions.
        """
        self.run: Final = run
        self.outcomes: Final[Counter[State]] = Counter()  # what orders came to
        self.ack_s: Final = Histogram(ACK_BUCKETS)  # from the sending of orders to the venue's answer
        self._facts, self._clock, self._group = facts, clock, group
        self._behind = Behind(connect, self._whole, most=most)
        self._markets: dict[str, int] = {}
        self._following = threading.Lock()
        self._states: dict[str, State] = {}  # of orders that are not over
        self._sent_us: dict[str, int] = {}  # of those that no answer came to yet

    @property
    def status(self) -> BehindStatus:
        """For watching."""
        return self._behind.status

    # A run.

    def __enter__(self) -> Self:
        """Begin the run. Raises DatabaseError."""
        values = {name: getattr(self.run, name) for name in self.run.__dataclass_fields__}
        values |= {"kflow_version": kflow.__version__, "host": socket.gethostname()}
        with reporting("storing the run"), self._behind.connection(INTENT_S) as conn:
            for market in self._facts:
                self._market(conn, market)
            conn.execute(_query("begin_run"), values | {"started_ns": self._clock.wall_ns()})
        self._behind.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Store what waits, as far as the database lets us within seconds; the log tells what is left."""
        ended = "stopped" if error is None else f"{type(error).__name__}: {error}"[:500]
        values = {"run": self.run.run, "ended_ns": self._clock.wall_ns(), "ended": ended}
        try:
            self._behind.put(Row("end_run", "rl_actor_runs", values))
        except DatabaseError:
            pass  # an end that cannot be told is one that was not in order
        finally:
            self._behind.end()

    # What is written down.

    def intend(self, intent: Intent) -> None:
        """Store an order. It may be sent only where this returns.

        Raises LeaseLost where its epoch does not hold the lease, DatabaseError where it cannot be stored in time,
        DataError where it was stored before.
        """
        self._behind.raise_if_failed()
        began_ns = self._clock.mono_ns()
        with reporting("storing an order"), stored():
            self._insert(intent)
        if self._clock.mono_ns() - began_ns > INTENT_S * NS_PER_S:
            raise DatabaseError(f"storing an order took longer than {INTENT_S:g} s, so it is not sent")
        with self._following:
            self._states[intent.client_order_id] = State.STORED

    def update(self, order: Order) -> None:
        """What became of an order, stored when that is possible. Raises DatabaseError where too much waits already."""
        us, mine = order.updated_us, order.intent.client_order_id
        answered = None
        with self._following:
            self._follow(order)
            if order.state is State.SENT:
                self._sent_us[mine] = us
            elif (since := self._sent_us.pop(mine, None)) is not None and order.state in _ANSWERS:
                self.ack_s.add(max(us - since, 0) / 1e6)
                answered = us
        moments = {
            "sent_us": us if order.state is State.SENT else None,
            "answered_us": answered,
            "ended_us": us if order.over and order.state is not State.FILLED else None,
        }
        self._behind.put(Row("update", "rl_orders", self._state(order) | moments))

    def fill(self, order: Order, fill: Fill) -> None:
        """A part of an order was filled; `order` is what it is with it. As `update`."""
        with self._following:
            self._follow(order)
        values = {
            "client_order_id": order.intent.client_order_id,
            "trade": fill.trade,
            "price": fill.price,
            "size": fill.size,
            "fee": fill.fee,
            "taker": fill.taker,
            "venue_us": fill.us,
            "now_ns": self._clock.wall_ns(),
        }
        # Its last change has the venue's time, not ours.
        moments = dict.fromkeys(("sent_us", "answered_us", "ended_us"))
        self._behind.put(Row("fill", "rl_fills", values), Row("update", "rl_orders", self._state(order) | moments))

    def stamped(
        self,
        client_order_id: str,
        *,
        sent_us: int | None = None,
        answered_us: int | None = None,
        reached_us: int | None = None,
        cancel_sent_us: int | None = None,
        cancel_answered_us: int | None = None,
        cancelled_us: int | None = None,
    ) -> None:
        """Moments of an order: ours; `reached_us` and `cancelled_us` the venue's. They win over those of `update`."""
        values = {
            "client_order_id": client_order_id,
            "sent_us": sent_us,
            "answered_us": answered_us,
            "reached_us": reached_us,
            "cancel_sent_us": cancel_sent_us,
            "cancel_answered_us": cancel_answered_us,
            "cancelled_us": cancelled_us,
        }
        self._behind.put(Row("stamp", "rl_orders", values))

    def held(self, us: int, cash: int, positions: Mapping[str, int]) -> None:
        """What the venue says that the account has. The first and the last of a run are what parity goes by."""
        held = {market: size for market, size in positions.items() if size}
        values = {"run": self.run.run, "venue_us": us, "cash": cash, "positions": Jsonb(held)}
        self._behind.put(Row("held", "rl_actor_holdings", values))

    def decided(self, decision: Decision) -> None:
        """A decision. Where there is no room for it, it is dropped, counted and told; never raises."""
        wish = decision.wish
        values = {
            "run": self.run.run,
            "market": decision.market,
            "client_order_id": decision.order,
            "decided_us": decision.us,
            "number": decision.number,
            "action": decision.action,
            "side": None if wish is None else wish.side,
            "price": None if wish is None else wish.price,
            "size": None if wish is None else wish.size,
            "position": decision.position,
            "book_version": decision.seen.version,
            "observation": decision.seen.digest,
            "refusal": decision.refusal or None,
        }
        self._behind.put_lossy(Row("decided", "rl_trading_actions", values, lossy=True))

    def flush(self) -> bool:
        """Store what waits, now. False where something still does, since the database cannot be used."""
        return self._behind.flush()

    # What is read.

    def known(self, venue: str | None = None, since_us: int = 0) -> dict[str, Order]:
        """Orders of every run at a venue, this one's among them, by client_order_id, with their fills.

        `since_us`: those that were stored since. Raises DatabaseError; DataError where a row is not what its id says.
        """
        values = {"venue": venue or self.run.venue, "since_ns": since_us * 1000, "since_us": 0}
        rows, fills = self._read("known", values), map(_fill, self._read("fills", values))
        mine: dict[str, dict[str, Fill]] = {}
        for told in fills:
            mine.setdefault(told.client_order_id, {})[told.fill.trade] = told.fill
        return {row["client_order_id"]: _order(row, mine.get(row["client_order_id"], {})) for row in rows}

    def fills_since(self, us: int, venue: str | None = None) -> list[StoredFill]:
        """Fills of all runs at a venue from a moment of its clock on. Raises DatabaseError."""
        values = {"venue": venue or self.run.venue, "since_ns": 0, "since_us": us}
        return [_fill(row) for row in self._read("fills", values)]

    def _read(self, query: str, values: Values) -> list[dict[str, Any]]:
        with reporting("reading orders"), self._behind.connection(_READ_S) as conn, conn.transaction():
            be_patient(conn, _READ_S, local=True)
            with conn.cursor(row_factory=dict_row) as cursor:
                return cursor.execute(_query(query), values).fetchall()

    # How.

    def _follow(self, order: Order) -> None:
        """Count what orders come to."""
        mine = order.intent.client_order_id
        if self._states.get(mine) is not order.state:
            self.outcomes[order.state] += 1
        self._states[mine] = order.state
        if order.over:
            del self._states[mine]

    def _state(self, order: Order) -> dict[str, object]:
        return {
            "client_order_id": order.intent.client_order_id,
            "status": str(order.state),
            "reason": order.reason,
            "venue_order_id": order.venue_id,
            "filled": order.filled,
            "expires_us": order.intent.expires_us,
            "now_ns": self._clock.wall_ns(),
            "ends": [str(end) for end in ENDS],
        }

    def _insert(self, intent: Intent) -> None:
        """Once more where the connection had died while nobody used it: storing twice is one row."""
        for again in (False, True):
            try:
                with self._behind.connection(INTENT_S) as conn:
                    values = self._intended(intent) | {"market_id": self._market(conn, intent.market)}
                    if conn.execute(_query("intend"), values).fetchone() is None and not again:
                        raise DataError(f"order {intent.client_order_id} was stored before", hint="nothing was sent")
            except psycopg.OperationalError:
                if again or self.status.connected:
                    raise
            else:
                self.status.rows["rl_orders"] += 1
                return

    def _intended(self, intent: Intent) -> dict[str, object]:
        facts = self._facts.get(intent.market)
        return {name: getattr(intent, name) for name in _INTENT} | {
            "client_order_id": intent.client_order_id,
            "venue": self.run.venue,
            "status": str(State.STORED),
            "now_ns": self._clock.wall_ns(),
            "book_version": intent.version,
            "observation": intent.digest,
            "shard": None if facts is None else facts.exchange_index,
            "order_group": self._group(intent.market),
        }

    def _whole(self, conn: Connection, row: Row) -> Values:
        market = row.values.get("market")
        return row.values if market is None else {**row.values, "market_id": self._market(conn, str(market))}

    def _market(self, conn: Connection, market: str) -> int:
        """Its number; a new one where nobody recorded it yet."""
        if market not in self._markets:
            row = conn.execute(_query("market"), {"ticker": market}).fetchone()
            if row is None:
                facts, now_ns = self._facts.get(market), self._clock.wall_ns()
                told = Market(ticker=market, updated_ns=now_ns) if facts is None else market_of(facts, now_ns)
                self._markets[market] = upsert_market(conn, told)
            else:
                assert isinstance(row[0], int)
                self._markets[market] = row[0]
        return self._markets[market]


def _order(row: Mapping[str, Any], fills: Mapping[str, Fill]) -> Order:
    intent = Intent(**{name: row[name] for name in _INTENT}, version=row["book_version"], digest=row["observation"])
    if intent.client_order_id != row["client_order_id"]:
        raise DataError(f"order {row['client_order_id']} is not the one of its row", hint="was rl_orders edited?")
    return Order(intent, State(row["status"]), row["venue_order_id"], row["reason"], fills, row["updated_ns"] // 1000)


def _fill(row: Mapping[str, Any]) -> StoredFill:
    fill = Fill(row["trade"], row["us"], row["price"], row["size"], row["fee"], row["taker"])
    return StoredFill(row["client_order_id"], row["market"], row["side"], fill)


def _query(name: str) -> LiteralString:
    return queries("orders")[name]
