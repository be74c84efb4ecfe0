"""What an account did and got: orders, fills, what it had before and after. A JSON object a line (docs/parity.md).

An order's line is one of `kflow simulate --orders` with more members. Prices are of the side that is bought, 1e-4
dollar; sizes 1e-2 contract, positions YES positive; money 1e-6 dollar; times µs since 1970. What the client says by its
own clock (`sent_us`, `answered_us`, `cancel_sent_us`) is put on the venue's by `merge.on_one_clock`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from kflow.errors import ConfigError, DataError, Unrepresentable, UsageError
from kflow.market.times import parse_rfc3339_us
from kflow.units import (
    DOLLAR,
    Money,
    Price,
    Size,
    format_money,
    format_price,
    format_size,
    parse_money,
    parse_price,
    parse_size,
)

SIDES: Final = ("yes", "no")
ORDER, ACCOUNT, SETTLEMENT = "order", "account", "settlement"
_MOST: Final = 2**30
_LATEST_US: Final = 4_102_444_800_000_000  # 2100
_HINT: Final = "docs/parity.md says what a line holds"


class Fill(NamedTuple):
    """One match of an order."""

    trade: str
    us: int
    price: int
    size: int
    taker: bool
    fee: int


class Amend(NamedTuple):
    """A change of price or size that the venue made. `remaining`: what the order was to want from then on."""

    us: int
    sent_us: int | None
    price: int
    remaining: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order as it was sent, and what became of it. None: not told."""

    order: str
    market: str
    side: int  # 0 buys YES, 1 buys NO
    price: int
    size: int
    us: int  # when it reached the venue
    guessed: bool = False  # the venue did not say so: half way between sent and answered
    client: str | None = None
    sent_us: int | None = None
    answered_us: int | None = None
    immediate: bool = False
    post_only: bool = False
    reduce_only: bool = False
    expires_us: int | None = None
    refused: str | None = None  # why the venue did not take it
    cancel_sent_us: int | None = None
    cancelled_us: int | None = None  # when a cancellation reached the venue, or the venue ended it itself
    amends: tuple[Amend, ...] = ()
    fills: tuple[Fill, ...] = ()
    filled: int | None = None  # by the venue's own count; the fills should add up to it

    @property
    def yes(self) -> int:
        """Its price on the YES axis."""
        return DOLLAR - self.price if self.side else self.price

    @property
    def got(self) -> int:
        """What its fills add up to."""
        return sum(fill.size for fill in self.fills)

    @property
    def dead_on_arrival(self) -> bool:
        """Nothing of it was filled or came to rest: refused, or taken and ended at once."""
        return self.refused is not None or (not self.fills and self.cancelled_us == self.us)

    @property
    def ended_by_venue(self) -> bool:
        """It was over before anybody asked: expired, its market closed, or an own order met it."""
        return self.cancelled_us is not None and (
            self.cancel_sent_us is None or self.cancelled_us < self.cancel_sent_us
        )


@dataclass(frozen=True, slots=True)
class Holding:
    """What the venue said an account had: all its cash, what resting orders hold back included, and positions."""

    us: int
    cash: int
    positions: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AccountLog:
    """A run of one account. `settled`: what a YES contract was paid, 1e-4 dollar, by market."""

    orders: tuple[Order, ...]
    before: Holding | None = None
    after: Holding | None = None
    settled: Mapping[str, int] = field(default_factory=dict)
    source: str = ""


# Lines.


class _Kind(msgspec.Struct):
    kind: str = ORDER


class _Fill(msgspec.Struct):
    us: int
    price: str
    size: str
    fee: str
    taker: bool
    trade_id: str = ""


class _Amend(msgspec.Struct):
    us: int
    price: str
    remaining: str
    sent_us: int | None = None


class _Order(msgspec.Struct):
    order_id: str
    market: str
    side: str
    price: str
    size: str
    us: int | None = None
    ts: str | None = None
    client_order_id: str | None = None
    sent_us: int | None = None
    answered_us: int | None = None
    immediate: bool = False
    post_only: bool = False
    reduce_only: bool = False
    expires_us: int | None = None
    refused: str | None = None
    cancel_sent_us: int | None = None
    cancelled_us: int | None = None
    amends: list[_Amend] = msgspec.field(default_factory=list)
    fills: list[_Fill] = msgspec.field(default_factory=list)
    filled: str | None = None


class _Account(msgspec.Struct):
    when: str
    us: int
    cash: str
    positions: dict[str, str] = msgspec.field(default_factory=dict)


class _Settlement(msgspec.Struct):
    market: str
    value: str


def read_log(path: Path) -> AccountLog:
    """A log of a file. Raises UsageError (no such file), DataError (not of this form)."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", hint="a file with a JSON object a line") from None
    orders: list[Order] = []
    held: dict[str, Holding] = {}
    settled: dict[str, int] = {}
    for number, text in enumerate(lines, 1):
        try:
            _read_line(text, orders, held, settled)
        except (msgspec.MsgspecError, Unrepresentable) as error:
            raise DataError(f"{path}, line {number}: {error}", hint=_HINT) from None
    seen: set[str] = set()
    for order in orders:
        if order.order in seen:
            raise DataError(f"{path}: order {order.order} stands there twice", hint=_HINT)
        seen.add(order.order)
    orders.sort(key=lambda order: order.us)
    return AccountLog(tuple(orders), held.get("before"), held.get("after"), settled, path.name)


def _read_line(text: bytes, orders: list[Order], held: dict[str, Holding], settled: dict[str, int]) -> None:
    kind = msgspec.json.decode(text, type=_Kind).kind
    if kind == ORDER:
        orders.append(_order(msgspec.json.decode(text, type=_Order)))
    elif kind == ACCOUNT:
        line = msgspec.json.decode(text, type=_Account)
        if line.when not in ("before", "after"):
            raise Unrepresentable("`when` of an account, which is before or after", line.when)
        positions = {market: int(parse_size(size)) for market, size in line.positions.items()}
        held[line.when] = Holding(_time(line.us), int(parse_money(line.cash)), positions)
    elif kind == SETTLEMENT:
        paid = msgspec.json.decode(text, type=_Settlement)
        settled[paid.market] = int(parse_price(paid.value))
    else:
        raise Unrepresentable("kind of line: order, account or settlement", kind)


def _time(us: int) -> int:
    if not 0 < us < _LATEST_US:
        raise Unrepresentable("time in µs since 1970", us)
    return us


def _maybe(us: int | None) -> int | None:
    return None if us is None else _time(us)


def _size(text: str) -> int:
    size = int(parse_size(text))
    if not 0 < size < _MOST:
        raise Unrepresentable("size of more than nothing and less than ten million contracts", text)
    return size


def _order(line: _Order) -> Order:
    if line.side not in SIDES:
        raise Unrepresentable("side, which is yes or no", line.side)
    us, guessed = _arrival(line)
    if line.cancelled_us is not None and _time(line.cancelled_us) < us:
        raise Unrepresentable("time in µs after the order reached the venue", line.cancelled_us)
    fills = [
        Fill(fill.trade_id, _time(fill.us), int(parse_price(fill.price)), _size(fill.size), fill.taker, _fee(fill.fee))
        for fill in line.fills
    ]
    amends = [
        Amend(_time(amend.us), _maybe(amend.sent_us), int(parse_price(amend.price)), _size(amend.remaining))
        for amend in line.amends
    ]
    return Order(
        order=line.order_id,
        market=line.market,
        side=SIDES.index(line.side),
        price=int(parse_price(line.price)),
        size=_size(line.size),
        us=us,
        guessed=guessed,
        client=line.client_order_id,
        sent_us=_maybe(line.sent_us),
        answered_us=_maybe(line.answered_us),
        immediate=line.immediate,
        post_only=line.post_only,
        reduce_only=line.reduce_only,
        expires_us=_maybe(line.expires_us),
        refused=line.refused,
        cancel_sent_us=_maybe(line.cancel_sent_us),
        cancelled_us=line.cancelled_us,
        amends=tuple(sorted(amends)),
        fills=tuple(sorted(fills, key=lambda fill: fill.us)),
        filled=None if line.filled is None else int(parse_size(line.filled)),
    )


def _arrival(line: _Order) -> tuple[int, bool]:
    """When an order reached the venue, and whether that is a guess."""
    if line.us is not None:
        return _time(line.us), False
    if line.ts is not None:
        return parse_rfc3339_us(line.ts), False
    if line.sent_us is None:
        raise msgspec.ValidationError("none of `us`, `ts` and `sent_us` says when")
    answered_us = line.sent_us if line.answered_us is None else line.answered_us
    return _time((line.sent_us + answered_us) // 2), True


def _fee(text: str) -> int:
    return int(parse_money(text))


def write_log(path: Path, log: AccountLog) -> None:
    """Raises ConfigError where the file cannot be written."""
    lines: list[dict[str, Any]] = []
    for when, holding in (("before", log.before), ("after", log.after)):
        if holding is not None:
            held = {market: format_size(Size(size)) for market, size in holding.positions.items()}
            cash = format_money(Money(holding.cash))
            lines.append({"kind": ACCOUNT, "when": when, "us": holding.us, "cash": cash, "positions": held})
    for market, value in sorted(log.settled.items()):
        lines.append({"kind": SETTLEMENT, "market": market, "value": format_price(Price(value))})
    lines += [line_of(order) for order in log.orders]
    try:
        path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}", hint="choose another --save") from None


def line_of(order: Order) -> dict[str, Any]:
    """An order as its line; what is not told is left out."""
    line: dict[str, Any] = {
        "order_id": order.order,
        "client_order_id": order.client,
        "market": order.market,
        "sent_us": order.sent_us,
        "answered_us": order.answered_us,
        "us": None if order.guessed else order.us,
        "side": SIDES[order.side],
        "price": format_price(Price(order.price)),
        "size": format_size(Size(order.size)),
        "expires_us": order.expires_us,
        "refused": order.refused,
        "cancel_sent_us": order.cancel_sent_us,
        "cancelled_us": order.cancelled_us,
        "filled": None if order.filled is None else format_size(Size(order.filled)),
    }
    line |= {name: True for name in ("immediate", "post_only", "reduce_only") if getattr(order, name)}
    if order.amends:
        line["amends"] = [_amend_line(amend) for amend in order.amends]
    if order.fills:
        line["fills"] = [_fill_line(fill) for fill in order.fills]
    if order.fills and order.got >= order.size:
        line["filled_us"] = order.fills[-1].us
    return {name: value for name, value in line.items() if value is not None}


def _amend_line(amend: Amend) -> dict[str, Any]:
    sent = {} if amend.sent_us is None else {"sent_us": amend.sent_us}
    price, remaining = format_price(Price(amend.price)), format_size(Size(amend.remaining))
    return {"us": amend.us, **sent, "price": price, "remaining": remaining}


def _fill_line(fill: Fill) -> dict[str, Any]:
    return {
        "trade_id": fill.trade,
        "us": fill.us,
        "price": format_price(Price(fill.price)),
        "size": format_size(Size(fill.size)),
        "taker": fill.taker,
        "fee": format_money(Money(fill.fee)),
    }
