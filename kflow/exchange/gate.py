"""The one way in for signed requests: key, scope, tokens, then the handler; the frames follow the answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from starlette.background import BackgroundTask
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kflow.clock import Clock
from kflow.exchange import throttle
from kflow.exchange.access import KEY_HEADER, Access, Denied, Key
from kflow.exchange.accounts import Account
from kflow.exchange.answers import PREFIX, Refusal, error, integer, names, respond
from kflow.exchange.clearing import Market
from kflow.exchange.desk import Desk
from kflow.exchange.documents import Document
from kflow.exchange.fields import Fields
from kflow.exchange.terms import OrderRefused
from kflow.exchange.throttle import Throttle
from kflow.market.times import US_PER_S

READ: Final = "read"
TRADE: Final = "write::trade"
TRANSFER: Final = "write::transfer"
# How many a comma list may name.
MOST_TICKERS: Final = 100
MOST_EVENTS: Final = 10


class Call:
    """A signed request that was let in."""

    def __init__(self, request: Request, key: Key, body: bytes) -> None:
        self.request, self.key, self._body = request, key, body

    @property
    def query(self) -> QueryParams:
        return self.request.query_params

    @property
    def user_id(self) -> str:
        return self.key.user_id

    def tickers(self, markets: Mapping[str, Market]) -> frozenset[str] | None:
        """Those that the query's `ticker` and `event_ticker` leave of all markets; None for all. Raises Refusal."""
        tickers, events = names(self.query, "ticker", MOST_TICKERS), names(self.query, "event_ticker", MOST_EVENTS)
        if events is None:
            return tickers
        of_events = frozenset(ticker for ticker, market in markets.items() if market.listing.event in events)
        return of_events if tickers is None else of_events & tickers

    def parameter(self, name: str) -> str:
        """Of the path."""
        return str(self.request.path_params[name])

    def fields(self) -> Fields:
        """The body. Raises Refusal."""
        return Fields.parse(self._body)

    def subaccount(self) -> int | None:
        """The query's, or the only one the key may touch; None where neither says. Raises Refusal."""
        number = integer(self.query, "subaccount")
        return self.own(number) if number is not None else self.key.subaccount

    def own(self, subaccount: int) -> int:
        """The same number, if the key may touch it. Raises Refusal."""
        if self.key.subaccount not in (None, subaccount):
            raise error(403, "forbidden", f"this key is restricted to subaccount {self.key.subaccount}")
        return subaccount


Handler = Callable[[Call], Document | None]
# Calls the handler and makes its answer.
Proceed = Callable[[], Awaitable[Response]]
# What may go wrong: answers itself, or proceeds and then answers late, otherwise, or not at all (`answers.Lost`).
Fault = Callable[[Call, Proceed], Awaitable[Response]]


def _whole(_: Call) -> tuple[int, int | None]:
    return 1, 0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One signed route, below the prefix."""

    method: str
    path: str
    handler: Handler
    scope: str
    status: int = 200
    # How many times its cost a call is charged, and on which shard (None: all, the venue finds it).
    charge: Callable[[Call], tuple[int, int | None]] = _whole


class Gate:
    """Lets signed requests through to their handlers. `fault` may be set at any time."""

    def __init__(self, desk: Desk, access: Access, clock: Clock) -> None:
        self.desk, self.access, self.clock = desk, access, clock
        self.throttle: Final = Throttle(desk.terms.tier)
        self.fault: Fault | None = None
        # Made once: what the constructor finds out about the function costs more than calling it.
        self._flushing: Final = BackgroundTask(self._flush)

    def route(self, endpoint: Endpoint) -> Route:
        async def answer(request: Request) -> Response:
            return await self._answer(endpoint, request)

        return Route(PREFIX + endpoint.path, answer, methods=[endpoint.method])

    def charge_public(self, request: Request) -> None:
        """Charge a public request that is signed; others are free. Raises Refusal. A wrong signature is no matter."""
        if self.throttle.free or KEY_HEADER not in request.headers:
            return
        key_id = self.access.check(request.headers, request.method, _signed_path(request))
        key = None if isinstance(key_id, Denied) else self.access.key(key_id)
        if key is not None:
            self._charge(key, throttle.DEFAULT_COST, write=False, shard=0)

    def as_of_us(self) -> int:
        """The moment that reads show, in the time of the venue's own stamps (a recording's, where one is played)."""
        return self.desk.clearing.time() - round(self.desk.terms.read_lag_s * US_PER_S)

    def account(self, call: Call, subaccount: int) -> Account:
        """One of the caller's accounts. Raises Refusal, OrderRefused."""
        return self.desk.account(call.user_id, call.own(subaccount))

    def accounts(self, call: Call) -> list[Account]:
        """Those the query speaks of: one if it says which, else all. Raises Refusal, OrderRefused."""
        subaccount = call.subaccount()
        if subaccount is not None:
            return [self.account(call, subaccount)]
        return list(self.desk.member(call.user_id).accounts.values())

    async def _answer(self, endpoint: Endpoint, request: Request) -> Response:
        key = self._key(request)
        call = Call(request, key, await request.body())
        if not key.allows(endpoint.scope):
            raise error(403, "forbidden", f"this key lacks the scope {endpoint.scope}")
        write = endpoint.method != "GET"
        times, shard = endpoint.charge(call)
        self._charge(key, times * throttle.cost(endpoint.method, endpoint.path), write=write, shard=shard)

        async def proceed() -> Response:
            if write:
                await self._delay()
            return self._handle(endpoint, call)

        try:
            response = await (proceed() if self.fault is None else self.fault(call, proceed))
        except BaseException:
            self.desk.flush()
            raise
        if write:
            # Frames follow the answer, also where nobody waits for it any more.
            response.background = self._flushing
        return response

    def _key(self, request: Request) -> Key:
        key_id = self.access.check(request.headers, request.method, _signed_path(request))
        if isinstance(key_id, Denied):
            raise Refusal(key_id.status, dict(key_id.body))
        key = self.access.key(key_id)
        assert key is not None, "it has just been checked"
        return key

    def _charge(self, key: Key, tokens: int, *, write: bool, shard: int | None) -> None:
        if not self.throttle.take(key.user_id, tokens, self.clock.mono_ns(), write=write, shard=shard):
            raise Refusal(429, {"error": "too many requests"})

    async def _delay(self) -> None:
        if self.desk.terms.order_latency_s:
            await self.clock.sleep(self.desk.terms.order_latency_s)

    def _handle(self, endpoint: Endpoint, call: Call) -> Response:
        try:
            return respond(endpoint.handler(call), endpoint.status, self.clock)
        except OrderRefused as problem:
            refusal = error(problem.status, problem.code, problem.details)
        except Refusal as problem:
            refusal = problem
        return respond(refusal.body, refusal.status_code, self.clock)

    async def _flush(self) -> None:
        self.desk.flush()


def _signed_path(request: Request) -> str:
    """The path as it was sent, without the query."""
    raw: bytes = request.scope["raw_path"]
    return raw.decode("ascii")
