"""An account's log as the tables tell it: a run of `kflow actor`, whose orders, fills and holdings are stored.

What the tables do not have from the venue is the actor's own: an order reached the venue half way between sent and
answered unless its answer said when, and a cancellation likewise. Given the venue, too, `merge.combined` knows better.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Final, LiteralString, NamedTuple
from uuid import UUID

import psycopg
from psycopg.rows import class_row, dict_row

from kflow.errors import UsageError
from kflow.evaluate.parity.log import AccountLog, Fill, Holding, Order
from kflow.market.times import US_PER_S
from kflow.store.postgres import reporting
from kflow.store.sqlfiles import queries

Connection = psycopg.Connection[tuple[object, ...]]

LAST: Final = "last"
_BEGINNING: Final = re.compile(r"[0-9a-f-]{4,36}")
# What the actor writes down of an order that it refused itself, at the last moment: the venue never saw it.
NEVER_LEFT: Final = "halted before it was sent"


class _Row(NamedTuple):
    id: int
    client_order_id: str
    venue_order_id: str | None
    market: str
    side: int
    price: int
    size: int
    immediate: bool
    reduce_only: bool
    expires_us: int | None
    status: str
    reason: str
    decided_us: int
    sent_us: int | None
    answered_us: int | None
    reached_us: int | None
    cancel_sent_us: int | None
    cancel_answered_us: int | None
    cancelled_us: int | None
    ended_us: int | None


class _FillRow(NamedTuple):
    order_id: int
    trade: str
    us: int
    price: int
    size: int
    taker: bool
    fee: int


def find_run(conn: Connection, text: str) -> UUID:
    """The run of an id, of its beginning, or the `last` one. Raises UsageError where that is none, or several."""
    beginning = "" if text == LAST else text.lower()
    if text != LAST and not _BEGINNING.fullmatch(beginning):
        raise UsageError(f"{text[:100]!r} is no run", hint="--run with an id, the beginning of one, or last")
    with reporting("looking for the run"), conn.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(_query("find_runs"), {"prefix": beginning}).fetchall()
    if not found:
        raise UsageError(f"there is no run {text}", hint="kflow actor run says the id of its run")
    if len(found) > 1 and beginning:
        raise UsageError(f"several runs begin with {text}", hint="give more of it")
    run = found[0]["run"]
    assert isinstance(run, UUID)
    return run


def account_log(conn: Connection, run: UUID) -> AccountLog:
    """All of a run. What its account had before and after is None where the actor did not write that down."""
    chosen = {"run": run}
    with reporting("reading the run"), conn.transaction():
        with conn.cursor(row_factory=class_row(_Row)) as cursor:
            rows = cursor.execute(_query("run_orders"), chosen).fetchall()
        with conn.cursor(row_factory=class_row(_FillRow)) as cursor:
            filled = cursor.execute(_query("run_fills"), chosen).fetchall()
        with conn.cursor(row_factory=dict_row) as cursor:
            holdings = cursor.execute(_query("run_holdings"), chosen).fetchall()
            paid = cursor.execute(_query("run_settlements"), chosen).fetchall()
    fills: dict[int, list[Fill]] = defaultdict(list)
    for row in filled:
        fills[row.order_id].append(Fill(row.trade, row.us, row.price, row.size, row.taker, row.fee))
    held = [Holding(row["venue_us"], row["cash"], row["positions"]) for row in holdings]
    left = (_order(row, tuple(fills[row.id])) for row in rows if row.reason != NEVER_LEFT)
    return AccountLog(
        orders=tuple(sorted(left, key=lambda order: order.us)),
        before=held[0] if held else None,
        after=held[1] if len(held) > 1 else None,
        settled={row["ticker"]: row["value"] for row in paid},
        source=f"run {run}",
    )


def _order(row: _Row, fills: tuple[Fill, ...]) -> Order:
    us = _between(row.sent_us, row.answered_us) if row.reached_us is None else row.reached_us
    if us is None:
        us = min([row.decided_us, *(fill.us for fill in fills)])
    return Order(
        order=row.venue_order_id or row.client_order_id,
        client=row.client_order_id,
        market=row.market,
        side=row.side,
        price=row.price,
        size=row.size,
        us=us,
        guessed=row.reached_us is None,
        sent_us=row.sent_us,
        answered_us=row.answered_us,
        immediate=row.immediate,
        reduce_only=row.reduce_only,
        expires_us=_second(row.expires_us),
        refused=_refusal(row),
        cancel_sent_us=row.cancel_sent_us,
        cancelled_us=_ended(row, us, fills),
        fills=fills,
    )


def _refusal(row: _Row) -> str | None:
    if row.status == "refused":
        return row.reason or "refused"
    return "the venue never had it" if row.status == "absent" else None


def _ended(row: _Row, us: int, fills: Iterable[Fill]) -> int | None:
    """When it was over at the venue, other than by fills; never before what is known to have been earlier."""
    if row.status == "expired":
        ended = _second(row.expires_us)
    elif row.status != "cancelled":
        return None
    elif row.immediate:
        ended = us  # what was not filled on arrival was over then
    else:
        ended = row.cancelled_us or _between(row.cancel_sent_us, row.cancel_answered_us) or row.ended_us
    return None if ended is None else max([ended, us, *(fill.us for fill in fills)])


def _second(us: int | None) -> int | None:
    """An order's end as a venue has it: in whole seconds, and not after what was asked for."""
    return None if us is None else us // US_PER_S * US_PER_S


def _between(sent_us: int | None, answered_us: int | None) -> int | None:
    if sent_us is None or answered_us is None:
        return sent_us
    return (sent_us + answered_us) // 2


def _query(name: str) -> LiteralString:
    return queries("orders")[name]
