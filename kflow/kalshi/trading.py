"""Orders over REST (kalshi-protocol sections 5.5 and 5.7). Every write is sent exactly once, and its outcome is one of:

- an answer: 2xx, JSON, with all that it must name;
- VenueRefused: for certain nothing happened. 400, 401, 403, 404, 409, 410 and 429 with a JSON body that says why;
- NeverSent: for certain it did not leave, since no connection came about. The one fault of the network that is certain;
- Unsure: nobody knows. No answer, a cut after the connection stood, 5xx, or an answer that makes no sense: a page, a
  wrong content type, no order id. It is never sent again, by us or by httpx, whose transport retries nothing.

Of a refusal with the code `DUPLICATE` the venue has an order of that id, so it is no proof that this one is not there.
A write that is cancelled while it waits is as unsure as one without an answer.
"""

from __future__ import annotations

import asyncio
import logging
import re
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import urlencode

import httpx
import msgspec

from kflow.clock import Clock
from kflow.errors import MalformedFrame, Unrepresentable, UsageError, VenueError
from kflow.kalshi import listings, refusals
from kflow.kalshi.auth import ApiKey
from kflow.kalshi.environments import Endpoints
from kflow.kalshi.portfolio import PortfolioClient, checked_id, yes_price
from kflow.kalshi.rest import Params, Retries
from kflow.market.times import US_PER_S
from kflow.units import Size, format_price, format_size, parse_size

_log = logging.getLogger(__name__)

DUPLICATE: Final = "order_already_exists"
NOT_FOUND: Final = "not_found"

_ORDERS: Final = "/portfolio/events/orders"
_GROUPS: Final = "/portfolio/order_groups"
_BOOK_SIDES: Final = ("bid", "ask")
# Answers that say for certain that nothing was done, if they also say why.
_REFUSALS: Final = frozenset({400, 401, 403, 404, 409, 410, 429})
_TIMEOUT_S: Final = 10.0
_ANSWER_BYTES: Final = 1024 * 1024
# Raised before the first byte of a request is written: connecting, its TLS, or waiting for a free connection.
_NEVER_LEFT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
# As long as a signature or a token, and no id.
_SECRET: Final = re.compile(r"[A-Za-z0-9+/_=-]{48,}")
_SHOWN_CHARS: Final = 400

T = TypeVar("T")


class Unsure(VenueError):
    """Nobody knows whether a write happened. Look at the account; never send it again."""


class NeverSent(VenueError):
    """A write did not leave this machine."""


class NewOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order to be sent: side 0 buys YES, 1 buys NO, `price` of that side; sizes 1e-2 contract, times µs."""

    market: str
    client_order_id: str
    side: int
    price: int
    size: int
    immediate: bool = False
    reduce_only: bool = False
    expires_us: int | None = None  # whole seconds count: the venue ends it up to one earlier
    group: str | None = None
    shard: int = 0


class Written(NamedTuple):
    """The venue's word on an order that it took or changed. Sizes 1e-2 contract, µs of the venue."""

    order_id: str
    filled: int
    left: int
    us: int


class _Written(msgspec.Struct):
    order_id: str
    fill_count: str
    remaining_count: str
    ts_ms: int
    client_order_id: str | None = None


class _Cancelled(msgspec.Struct):
    order_id: str
    reduced_by: str
    ts_ms: int


class _Group(msgspec.Struct):
    order_group_id: str


class _Nothing(msgspec.Struct):
    pass


@dataclass(frozen=True, slots=True)
class Answer:
    """Of a write, as it came."""

    status: int
    content_type: str
    body: bytes


class TradingClient(PortfolioClient):
    """Trades for the account of its key. Writes raise VenueRefused, NeverSent and Unsure; reads as PortfolioClient."""

    def __init__(
        self,
        endpoints: Endpoints,
        *,
        clock: Clock,
        key: ApiKey,
        retries: Retries | None = None,
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        """`retries` are of reads. timeout_s: how long a write may go without its answer."""
        super().__init__(endpoints, clock=clock, key=key, retries=retries)
        self._signer: Final = key
        self._timeout_s: Final = timeout_s

    # Orders

    async def create(self, order: NewOrder) -> Written:
        """Send an order. What it takes, it takes now; the rest waits unless it is `immediate`."""
        body: dict[str, Any] = {
            "ticker": order.market,
            "client_order_id": order.client_order_id,
            "side": _BOOK_SIDES[order.side],
            "price": format_price(yes_price(order.side, order.price)),
            "count": format_size(Size(order.size)),
            "time_in_force": "immediate_or_cancel" if order.immediate else "good_till_canceled",
            "self_trade_prevention_type": "taker_at_cross",
            "cancel_order_on_pause": True,
            "exchange_index": order.shard,
        }
        if order.reduce_only:
            body["reduce_only"] = True
        if order.expires_us is not None and not order.immediate:
            body["expiration_time"] = order.expires_us // US_PER_S
        if order.group is not None:
            body["order_group_id"] = order.group
        request = f"POST {_ORDERS}"
        answer = await self._write(request, body=body)
        written = self._decoded(_Written, request, answer)
        if written.client_order_id not in (None, order.client_order_id):
            raise self._unsure(request, answer, "it names another order than was sent")
        return self._counted(request, answer, written)

    async def cancel(self, order_id: str, market: str) -> int:
        """Cancel an order; when that was, µs of the venue. A refusal with NOT_FOUND may hide that it was filled."""
        request = f"DELETE {_ORDERS}/{checked_id(order_id)}"
        answer = await self._write(request, [("market_ticker", market)])
        cancelled = self._decoded(_Cancelled, request, answer)
        self._size(request, answer, cancelled.reduced_by)
        return cancelled.ts_ms * 1000

    async def amend_expiry(
        self, order_id: str, market: str, *, side: int, price: int, size: int, expires_us: int
    ) -> Written:
        """Let a resting order live until another second. Side, price and `size` (filled and left together) are as they
        were, so that it keeps its place in the queue. Its id may be another afterwards.
        """
        body = {
            "ticker": market,
            "side": _BOOK_SIDES[side],
            "price": format_price(yes_price(side, price)),
            "count": format_size(Size(size)),
            "expiration_time": expires_us // US_PER_S,
        }
        request = f"POST {_ORDERS}/{checked_id(order_id)}/amend"
        answer = await self._write(request, body=body)
        return self._counted(request, answer, self._decoded(_Written, request, answer))

    async def cancel_all(self) -> None:
        """Cancel every order of the account, and those that come within the next minute."""
        await self._done(f"DELETE {_ORDERS}", [("subaccount", "0")])

    # Order groups, each of one shard

    async def create_group(self, most: int, shard: int) -> str:
        """A group that stops once more than `most` (1e-2 contracts) were matched within 15 s; its id."""
        request = f"POST {_GROUPS}/create"
        answer = await self._write(
            request, body={"contracts_limit_fp": format_size(Size(most)), "exchange_index": shard}
        )
        return self._named(request, answer, self._decoded(_Group, request, answer).order_group_id)

    async def trigger_group(self, group: str, shard: int) -> None:
        """Cancel a group's orders, and let no more in. Doing it twice does no harm."""
        await self._done(f"PUT {_GROUPS}/{checked_id(group)}/trigger", _shard(shard), {})

    async def reset_group(self, group: str, shard: int) -> None:
        """Let orders in again."""
        await self._done(f"PUT {_GROUPS}/{checked_id(group)}/reset", _shard(shard), {})

    async def delete_group(self, group: str, shard: int) -> None:
        """Cancel a group's orders and forget it."""
        await self._done(f"DELETE {_GROUPS}/{checked_id(group)}", _shard(shard))

    # How

    async def _done(self, request: str, params: Params, body: dict[str, Any] | None = None) -> None:
        """A write whose answer says nothing but that it was done."""
        answer = await self._write(request, params, body)
        if answer.status != 204:
            self._decoded(_Nothing, request, answer)

    async def _write(self, request: str, params: Params | None = None, body: dict[str, Any] | None = None) -> Answer:
        """Send once. `request` is its method and path."""
        method, _, path = request.partition(" ")
        content = None if body is None else msgspec.json.encode(body)
        query = f"?{urlencode(params)}" if params else ""
        asked = self._http.build_request(
            method,
            self.endpoints.rest + path + query,
            content=content,
            headers={"Content-Type": "application/json"} if content is not None else None,
            timeout=self._timeout_s,
        )
        headers = await asyncio.to_thread(self._signer.headers, method, str(asked.url), self.clock.wall_ns())
        asked.headers.update(headers)
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._once(asked)
        except _NEVER_LEFT as error:
            why = str(error) or type(error).__name__
            raise NeverSent(f"{request} was not sent: {why}", hint="check the network") from None
        except (httpx.HTTPError, TimeoutError) as error:
            why = str(error) or type(error).__name__
            raise Unsure(f"{request} got no answer: {why}", hint="look at the account before anything else") from None
        return self._judged(request, answer)

    async def _once(self, asked: httpx.Request) -> Answer:
        response = await self._http.send(asked, stream=True)
        try:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > _ANSWER_BYTES:
                    break
        finally:
            await response.aclose()
        return Answer(response.status_code, response.headers.get("content-type", ""), bytes(body))

    def _judged(self, request: str, answer: Answer) -> Answer:
        """The answer if it is a success; see the module for what else it may be."""
        if 200 <= answer.status < 300:
            return answer
        if answer.status not in _REFUSALS or not _says_why(answer):
            raise self._unsure(request, answer, "it is no refusal of the venue's")
        if answer.status == 401:
            raise refusals.unauthorised(request, answer.body, algorithm=self._signer.algorithm, offset_ms=None)
        raise refusals.refusal(request, answer.status, answer.body)

    def _decoded(self, kind: type[T], request: str, answer: Answer) -> T:
        if not _is_json(answer):
            raise self._unsure(request, answer, f"it is {answer.content_type or 'of no type'}, not JSON")
        try:
            return listings.decode(kind, answer.body, request)
        except MalformedFrame as error:
            raise self._unsure(request, answer, str(error).removeprefix(f"{request}: ")) from None

    def _counted(self, request: str, answer: Answer, written: _Written) -> Written:
        filled = self._size(request, answer, written.fill_count)
        left = self._size(request, answer, written.remaining_count)
        return Written(self._named(request, answer, written.order_id), filled, left, written.ts_ms * 1000)

    def _size(self, request: str, answer: Answer, text: str) -> int:
        try:
            size = int(parse_size(text))
        except Unrepresentable as error:
            raise self._unsure(request, answer, str(error)) from None
        if size < 0:
            raise self._unsure(request, answer, f"it counts {text} contracts")
        return size

    def _named(self, request: str, answer: Answer, name: str) -> str:
        try:
            return checked_id(name)
        except UsageError:
            raise self._unsure(request, answer, "it names no id") from None

    def _unsure(self, request: str, answer: Answer, why: str) -> Unsure:
        _log.warning("%s: HTTP %d, %s: %s", request, answer.status, why, self._shown(answer.body))
        said = f"{request}: the answer does not say what was done (HTTP {answer.status}): {why}"
        return Unsure(said, hint="look at the account before anything else")

    def _shown(self, body: bytes) -> str:
        """A body for the log: one line, without anything that could be a secret."""
        text = body[: 4 * _SHOWN_CHARS].decode("utf-8", "replace").replace(self._signer.key_id, "***")
        line = "".join(char if char.isprintable() else " " for char in _SECRET.sub("***", text))
        return line[:_SHOWN_CHARS]


def _shard(shard: int) -> Params:
    return [("subaccount", "0"), ("exchange_index", str(shard))]


def _is_json(answer: Answer) -> bool:
    return answer.content_type.partition(";")[0].strip().lower() == "application/json"


def _says_why(answer: Answer) -> bool:
    """Whether an error comes from the venue itself: anything on the way answers with pages, or with nothing."""
    if not _is_json(answer):
        return False
    try:
        said = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return isinstance(said, dict) and any(refusals.read_error(answer.body))
