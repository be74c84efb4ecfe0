"""A user's raw REST: signs what the test says, as it says it, and gives back what came."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx

from kflow.clock import Clock, SystemClock
from kflow.exchange.access import Access, Key
from kflow.exchange.holders import Holder
from kflow.exchange.listing import Listing
from kflow.exchange.server import ExchangeOptions
from kflow.exchange.source import MatchedSource
from kflow.exchange.terms import Terms
from kflow.kalshi.auth import ApiKey
from kflow.market.events import Level
from kflow.testing.venue import MARKET, LocalVenue, listing, some_levels

Books = Mapping[str, tuple[Sequence[Level], Sequence[Level]]]


class Trader:
    """One user at one exchange."""

    def __init__(self, rest: str, key: ApiKey, http: httpx.AsyncClient, clock: Clock) -> None:
        self.rest, self.key, self._http, self._clock = rest, key, http, clock

    async def send(self, method: str, path: str, body: Any = None, **query: Any) -> httpx.Response:
        """A signed request; `path` may have a query of its own, `body` is sent as JSON, bytes as they are."""
        url = self.rest + path
        content = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        headers = {**self.key.headers(method, url, self._clock.wall_ns()), "Content-Type": "application/json"}
        return await self._http.request(method, url, headers=headers, content=content, params=query or None)

    async def get(self, path: str, **query: Any) -> Any:
        """The body of an answer that must be 200."""
        response = await self.send("GET", path, **query)
        assert response.status_code == 200, response.text
        return response.json()

    async def create(self, side: str, price: str, count: str, **more: Any) -> httpx.Response:
        """An order, good till canceled unless `more` says otherwise; a None leaves a member out."""
        return await self.send("POST", "/portfolio/events/orders", ticket(side, price, count, **more))

    async def order(self, side: str, price: str, count: str, **more: Any) -> dict[str, Any]:
        """The answer to an order that must be accepted."""
        response = await self.create(side, price, count, **more)
        assert response.status_code == 201, response.text
        answer: dict[str, Any] = response.json()
        return answer

    async def public(self, path: str) -> httpx.Response:
        """An unsigned GET."""
        return await self._http.get(self.rest + path)

    def with_key(self, key: ApiKey) -> Trader:
        """The same with another key."""
        return Trader(self.rest, key, self._http, self._clock)


def ticket(side: str, price: str, count: str, **more: Any) -> dict[str, Any]:
    """The body of an order."""
    members = {
        "ticker": MARKET,
        "side": side,
        "price": price,
        "count": count,
        "time_in_force": "good_till_canceled",
        "self_trade_prevention_type": "taker_at_cross",
        **more,
    }
    return {name: value for name, value in members.items() if value is not None}


@asynccontextmanager
async def trading(
    *,
    terms: Terms | None = None,
    markets: Sequence[str | Listing] = (MARKET,),
    books: Books | None = None,
    clock: Clock | None = None,
    users: int = 2,
) -> AsyncIterator[tuple[LocalVenue, list[Trader]]]:
    """An exchange where orders match, and its users. Each market starts with `some_levels`, unless `books` say else."""
    listings = [entry if isinstance(entry, Listing) else listing(entry) for entry in markets]
    levels = {entry.ticker: some_levels() for entry in listings} if books is None else books
    clock = clock or SystemClock()
    source = MatchedSource(listings, levels)
    options = ExchangeOptions(source=source, terms=terms or Terms(tier="unlimited"), users=users, clock=clock)
    async with LocalVenue(source=source, options=options) as venue, httpx.AsyncClient(timeout=10) as http:
        yield venue, [Trader(venue.rest, _key(holder), http, clock) for holder in venue.exchange.holders]


def _key(holder: Holder) -> ApiKey:
    return ApiKey.load(holder.key_id, holder.private_key_path)


def narrowed(access: Access, trader: Trader, *scopes: str, subaccount: int | None = None) -> Trader:
    """The same user with a second key, of the same private key, that may do less."""
    whole = access.key(trader.key.key_id)
    assert whole is not None
    key_id = f"{whole.key_id}-{'-'.join(scopes)}-{subaccount}".replace(":", "")
    access.add(Key(key_id, whole.public_key, whole.user_id, "narrow", scopes, subaccount))
    return trader.with_key(ApiKey(key_id, trader.key.private_key))
