"""What an account has and had, over signed REST (kalshi-protocol section 5.6): orders, fills, positions, cash.

Reads lag writes at the venue, up to a second; `as_of_us` says how far they are. Only GET is here. Everything is of the
primary subaccount. Directions are read from `outcome_side` and `book_side`, never from the retired `side` and `action`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Final, NamedTuple, TypeVar

import msgspec

from kflow.errors import MalformedFrame, UsageError
from kflow.kalshi.rest import Params, RestClient
from kflow.market.times import US_PER_S, parse_rfc3339_us
from kflow.units import DOLLAR, Price, parse_money, parse_price, parse_size

_PAGE: Final = 1000
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_PRIMARY: Final = ("subaccount", "0")
_OUTCOMES: Final = {"yes": 0, "no": 1}
_BOOK_SIDES: Final = {"bid": 0, "ask": 1}

T = TypeVar("T")


class AccountOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order. side 0 buys YES, 1 buys NO; `price` is of that side; sizes 1e-2 contract, times µs since 1970."""

    order_id: str
    client_order_id: str  # empty where it has none
    market: str
    side: int
    price: int
    size: int  # as it was asked for
    filled: int
    left: int
    status: str  # resting, canceled, executed
    created_us: int
    updated_us: int
    expires_us: int | None
    group: str | None
    shard: int | None


class AccountFill(msgspec.Struct, frozen=True, kw_only=True):
    """A fill of one of the account's orders; `fee` in 1e-6 dollar."""

    trade_id: str
    order_id: str
    market: str
    side: int
    price: int
    size: int
    fee: int
    taker: bool
    us: int


class AccountSettlement(msgspec.Struct, frozen=True):
    """A market that was paid out. value: of a YES contract, 1e-4 dollar; None for a scalar, whose market says it."""

    market: str
    result: str
    value: int | None
    us: int


class Cash(NamedTuple):
    """1e-6 dollar: what a new order may use, and what resting orders hold back."""

    free: int
    reserved: int

    @property
    def whole(self) -> int:
        return self.free + self.reserved


class _Order(msgspec.Struct):
    order_id: str
    ticker: str
    status: str
    yes_price_dollars: str
    fill_count_fp: str
    remaining_count_fp: str
    initial_count_fp: str
    created_time: str
    outcome_side: str | None = None
    book_side: str | None = None
    last_update_time: str | None = None
    client_order_id: str | None = None
    expiration_time: str | None = None
    order_group_id: str | None = None
    exchange_index: int | None = None


class _Fill(msgspec.Struct):
    trade_id: str
    order_id: str
    ticker: str
    count_fp: str
    yes_price_dollars: str
    is_taker: bool
    created_time: str
    fee_cost: str
    outcome_side: str | None = None
    book_side: str | None = None


class _Settlement(msgspec.Struct):
    ticker: str
    market_result: str
    settled_time: str


class _Position(msgspec.Struct):
    ticker: str
    position_fp: str


class _OneOrder(msgspec.Struct):
    order: _Order


class _Orders(msgspec.Struct):
    orders: list[_Order]
    cursor: str | None = None


class _Fills(msgspec.Struct):
    fills: list[_Fill]
    cursor: str | None = None


class _Settlements(msgspec.Struct):
    settlements: list[_Settlement]
    cursor: str | None = None


class _Positions(msgspec.Struct):
    market_positions: list[_Position]
    cursor: str | None = None


class _Balance(msgspec.Struct):
    balance_dollars: str


class _OnShard(msgspec.Struct):
    balance: str


class _Resting(msgspec.Struct):
    resting_order_value_breakdown: list[_OnShard]


class _AsOf(msgspec.Struct):
    as_of_time: str


P = TypeVar("P", _Orders, _Fills, _Settlements, _Positions)


class PortfolioClient(RestClient):
    """Reads the account of its key. Raises what `RestClient` does; may repeat any request."""

    async def orders(
        self, *, status: str | None = None, market: str | None = None, since_us: int = 0
    ) -> AsyncIterator[AccountOrder]:
        """Newest first, open and over unless `status` (resting, canceled, executed) says which; made since."""
        params = [_PRIMARY, *_since(since_us), *_given("status", status), *_given("ticker", market)]
        async for page in self._walk(_Orders, "/portfolio/orders", params):
            for order in page.orders:
                yield _account_order(order)

    async def order(self, order_id: str) -> AccountOrder:
        """One order by the venue's id. Raises VenueRefused (404) where it has none of it."""
        one = await self._get(_OneOrder, f"/portfolio/orders/{checked_id(order_id)}", signed=True)
        return _account_order(one.order)

    async def fills(self, *, since_us: int = 0, market: str | None = None) -> AsyncIterator[AccountFill]:
        """Newest first."""
        params = [_PRIMARY, *_since(since_us), *_given("ticker", market)]
        async for page in self._walk(_Fills, "/portfolio/fills", params):
            for wire in page.fills:
                fill = _account_fill(wire)
                if fill.us >= since_us:
                    yield fill

    async def settlements(self) -> AsyncIterator[AccountSettlement]:
        """Newest first."""
        async for page in self._walk(_Settlements, "/portfolio/settlements", [_PRIMARY]):
            for paid in page.settlements:
                value = {"yes": int(DOLLAR), "no": 0}.get(paid.market_result)
                us = parse_rfc3339_us(paid.settled_time)
                yield AccountSettlement(paid.ticker, paid.market_result, value, us)

    async def positions(self) -> dict[str, int]:
        """Contracts held, 1e-2, by market: YES positive, NO negative. Settled markets and empty positions left out."""
        held: dict[str, int] = {}
        async for page in self._walk(_Positions, "/portfolio/positions", [_PRIMARY]):
            held.update({each.ticker: int(parse_size(each.position_fp)) for each in page.market_positions})
        return {market: size for market, size in held.items() if size}

    async def cash(self) -> Cash:
        """What is free, and what resting orders hold back: fills move their sum, orders alone do not."""
        free = await self._get(_Balance, "/portfolio/balance", [_PRIMARY], signed=True)
        path = "/portfolio/summary/total_resting_order_value"
        held = await self._get(_Resting, path, [_PRIMARY], signed=True)
        reserved = sum(parse_money(shard.balance) for shard in held.resting_order_value_breakdown)
        return Cash(int(parse_money(free.balance_dollars)), int(reserved))

    async def as_of_us(self) -> int:
        """The venue's time up to which reads of orders, fills and positions are whole, µs since 1970."""
        return parse_rfc3339_us((await self._get(_AsOf, "/exchange/user_data_timestamp")).as_of_time)

    async def _walk(self, kind: type[P], path: str, params: Params) -> AsyncIterator[P]:
        cursor, seen = "", set[str]()
        while True:
            more: Params = _given("cursor", cursor or None)
            page = await self._get(kind, path, [*params, ("limit", str(_PAGE)), *more], signed=True)
            yield page
            cursor = page.cursor or ""
            if not cursor:
                return
            if cursor in seen:
                raise MalformedFrame(f"GET {path}: the venue's pages go round in a circle")
            seen.add(cursor)


def checked_id(name: str) -> str:
    """An id of the venue's as it may stand in a path. Raises UsageError for what is none."""
    if not _ID.fullmatch(name):
        raise UsageError(f"{name!r:.80} is not an id of the venue's", hint="ids have letters, digits, _ and -")
    return name


def yes_price(side: int, price: int) -> Price:
    """Of an own price, or of a YES price the own one: selling YES at p is buying NO at $1 - p."""
    return Price(DOLLAR - price if side else price)


def _given(name: str, value: str | None) -> Params:
    return [] if value is None else [(name, value)]


def _since(us: int) -> Params:
    """The filter counts whole seconds, and may hold for either end of one."""
    return [("min_ts", str(us // US_PER_S - 1))] if us >= US_PER_S else []


def _side(outcome_side: str | None, book_side: str | None) -> int:
    """Each of the two may be absent, not both; where both are there they agree."""
    said = {
        side
        for side in (_OUTCOMES.get(outcome_side or "", outcome_side), _BOOK_SIDES.get(book_side or "", book_side))
        if side is not None
    }
    side = said.pop() if len(said) == 1 else None
    if not isinstance(side, int):
        raise MalformedFrame(f"an order that is {outcome_side} and {book_side} has no side")
    return side


def _account_order(order: _Order) -> AccountOrder:
    side, created_us = _side(order.outcome_side, order.book_side), parse_rfc3339_us(order.created_time)
    return AccountOrder(
        order_id=order.order_id,
        client_order_id=order.client_order_id or "",
        market=order.ticker,
        side=side,
        price=yes_price(side, parse_price(order.yes_price_dollars)),
        size=int(parse_size(order.initial_count_fp)),
        filled=int(parse_size(order.fill_count_fp)),
        left=int(parse_size(order.remaining_count_fp)),
        status=order.status,
        created_us=created_us,
        updated_us=created_us if order.last_update_time is None else parse_rfc3339_us(order.last_update_time),
        expires_us=None if order.expiration_time is None else parse_rfc3339_us(order.expiration_time),
        group=order.order_group_id,
        shard=order.exchange_index,
    )


def _account_fill(fill: _Fill) -> AccountFill:
    side = _side(fill.outcome_side, fill.book_side)
    return AccountFill(
        trade_id=fill.trade_id,
        order_id=fill.order_id,
        market=fill.ticker,
        side=side,
        price=yes_price(side, parse_price(fill.yes_price_dollars)),
        size=int(parse_size(fill.count_fp)),
        fee=int(parse_money(fill.fee_cost)),
        taker=fill.is_taker,
        us=parse_rfc3339_us(fill.created_time),
    )
