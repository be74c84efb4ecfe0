"""An account's log as its venue tells it over REST: orders, fills, settlements, positions, cash. Only reads.

What the venue does not tell: when orders and cancellations were sent, orders that it refused, amendments (it shows the
last price and size), and whether an order was immediate (taken for one where it was over at its own µs). A client's
own log, where there is one, does (`merge.combined`).
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final, TypeVar

import msgspec

from kflow.errors import DataError, MalformedFrame, Unrepresentable
from kflow.evaluate.parity.log import AccountLog, Fill, Holding, Order
from kflow.kalshi.rest import RestClient
from kflow.market.times import parse_rfc3339_us
from kflow.units import DOLLAR, parse_money, parse_price, parse_size

_PAGE: Final = 1000
_TRIES: Final = 5
_OUTCOMES: Final = ("yes", "no")


class _Order(msgspec.Struct):
    order_id: str
    ticker: str
    outcome_side: str
    status: str
    yes_price_dollars: str
    fill_count_fp: str
    remaining_count_fp: str
    initial_count_fp: str
    created_time: str
    last_update_time: str | None = None
    client_order_id: str | None = None
    expiration_time: str | None = None


class _Fill(msgspec.Struct):
    trade_id: str
    order_id: str
    ticker: str
    outcome_side: str
    count_fp: str
    yes_price_dollars: str
    is_taker: bool
    created_time: str
    fee_cost: str


class _Settlement(msgspec.Struct):
    ticker: str
    market_result: str


class _Position(msgspec.Struct):
    ticker: str
    position_fp: str


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


P = TypeVar("P", _Orders, _Fills, _Settlements, _Positions)


class AccountReader(RestClient):
    """Reads the account of its key. Raises what `RestClient` does, and DataError for an account that does not rest."""

    async def read(self) -> AccountLog:
        """Everything the account has and had. Read again where it traded meanwhile."""
        for _ in range(_TRIES):
            before = await self._holding()
            orders = [o for page in await self._all(_Orders, "/portfolio/orders") for o in page.orders]
            fills = [f for page in await self._all(_Fills, "/portfolio/fills") for f in page.fills]
            paid = [s for page in await self._all(_Settlements, "/portfolio/settlements") for s in page.settlements]
            after = await self._holding()
            if (before.cash, before.positions) == (after.cash, after.positions) and _whole(orders, fills):
                settled = {each.ticker: await self._value(each) for each in paid}
                return _log(orders, fills, settled, after, self.endpoints.rest)
        raise DataError("the account went on trading while it was read", hint="stop the actor first")

    async def _holding(self) -> Holding:
        """Cash, with what resting orders hold back, and positions."""
        free = await self._get(_Balance, "/portfolio/balance", signed=True)
        path = "/portfolio/summary/total_resting_order_value"
        held = await self._get(_Resting, path, signed=True)
        cash = parse_money(free.balance_dollars)
        reserved = sum(parse_money(shard.balance) for shard in held.resting_order_value_breakdown)
        pages = await self._all(_Positions, "/portfolio/positions", ("settlement_status", "all"))
        positions = {each.ticker: int(parse_size(each.position_fp)) for page in pages for each in page.market_positions}
        return Holding(self.clock.wall_ns() // 1000, int(cash + reserved), {m: n for m, n in positions.items() if n})

    async def _value(self, paid: _Settlement) -> int:
        """What a YES contract was paid: the settlement has whole cents, the market has it exactly."""
        if paid.market_result in _OUTCOMES:
            return DOLLAR if paid.market_result == "yes" else 0
        value = (await self.market(paid.ticker)).settlement_value
        if value is None:
            raise DataError(f"the venue does not say what {paid.ticker} was settled at", hint="read again later")
        return int(value)

    async def _all(self, kind: type[P], path: str, *params: tuple[str, str]) -> list[P]:
        pages: list[P] = []
        cursors: set[str] = set()
        cursor = ""
        while True:
            more: list[tuple[str, str]] = [("cursor", cursor)] if cursor else []
            page = await self._get(kind, path, [*params, ("limit", str(_PAGE)), *more], signed=True)
            pages.append(page)
            cursor = page.cursor or ""
            if not cursor:
                return pages
            if cursor in cursors:
                raise MalformedFrame(f"GET {path}: the venue's pages go round in a circle")
            cursors.add(cursor)


def _whole(orders: list[_Order], fills: list[_Fill]) -> bool:
    """Whether orders and fills are of one moment: a venue's reads may lag each other."""
    got: dict[str, int] = defaultdict(int)
    for fill in fills:
        got[fill.order_id] += parse_size(fill.count_fp)
    known = {order.order_id: int(parse_size(order.fill_count_fp)) for order in orders}
    return all(known[name] >= size for name, size in got.items() if name in known)


def _log(orders: list[_Order], fills: list[_Fill], settled: dict[str, int], after: Holding, source: str) -> AccountLog:
    mine: dict[str, list[_Fill]] = defaultdict(list)
    for fill in fills:
        mine[fill.order_id].append(fill)
    found = [_order(order, mine.pop(order.order_id, [])) for order in orders]
    # Fills of orders that it does not list: somebody's, and they moved the account's money.
    found += [_stray(strays) for strays in mine.values()]
    return AccountLog(tuple(sorted(found, key=lambda order: order.us)), None, after, settled, source)


def _side(text: str) -> int:
    if text not in _OUTCOMES:
        raise Unrepresentable("side, which is yes or no", text)
    return _OUTCOMES.index(text)


def _own(side: int, yes: str) -> int:
    price = int(parse_price(yes))
    return DOLLAR - price if side else price


def _fills(fills: list[_Fill]) -> tuple[Fill, ...]:
    return tuple(
        sorted(
            (
                Fill(
                    fill.trade_id,
                    parse_rfc3339_us(fill.created_time),
                    _own(_side(fill.outcome_side), fill.yes_price_dollars),
                    int(parse_size(fill.count_fp)),
                    fill.is_taker,
                    int(parse_money(fill.fee_cost)),
                )
                for fill in fills
            ),
            key=lambda fill: (fill.us, fill.trade),
        )
    )


def _order(order: _Order, fills: list[_Fill]) -> Order:
    side, us = _side(order.outcome_side), parse_rfc3339_us(order.created_time)
    over = order.status == "canceled"
    ended = None if not over or order.last_update_time is None else parse_rfc3339_us(order.last_update_time)
    return Order(
        order=order.order_id,
        market=order.ticker,
        side=side,
        price=_own(side, order.yes_price_dollars),
        size=int(parse_size(order.initial_count_fp)),
        us=us,
        client=order.client_order_id or None,
        immediate=ended == us,
        expires_us=None if order.expiration_time is None else parse_rfc3339_us(order.expiration_time),
        cancelled_us=ended,
        fills=_fills(fills),
        filled=int(parse_size(order.fill_count_fp)),
    )


def _stray(fills: list[_Fill]) -> Order:
    found, first = _fills(fills), fills[0]
    side = _side(first.outcome_side)
    return Order(
        order=first.order_id,
        market=first.ticker,
        side=side,
        price=max(fill.price for fill in found),
        size=sum(fill.size for fill in found),
        us=found[0].us,
        fills=found,
    )
