"""A whole actor at a local exchange, in this process or another: strategies that try it, and what the exchange knows.

async with field(folder, dsn, seed=7) as ground:
    await ground.start()
    ...
    await ground.stop()
    assert ground.differences() == []
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import psycopg
from numpy.typing import NDArray
from starlette.responses import Response

from kflow.act.orders import State
from kflow.act.service import Service
from kflow.act.standing import FOLDER, StandingFile
from kflow.clock import Clock, SystemClock
from kflow.exchange.accounts import Account
from kflow.exchange.answers import PREFIX
from kflow.exchange.gate import Call, Proceed
from kflow.exchange.scene import SyntheticOptions
from kflow.exchange.server import Exchange, ExchangeOptions
from kflow.exchange.source import Source
from kflow.exchange.synthetic import SyntheticSource
from kflow.exchange.terms import Terms
from kflow.exchange.trade_faults import command_of
from kflow.policy.actions import ORDER, action_set
from kflow.settings import Settings, load
from kflow.testing.proxy import Proxy
from kflow.trade import Options, Report, trade
from kflow.units import DOLLAR, parse_price, parse_size

# As measured at the venue, in seconds (docs/local-exchange.md).
MEASURED: Final = {"order_latency_s": 0.022, "feed_latency_s": 0.006, "read_lag_s": 0.36}
# Wide enough for a day of random orders; what limits do is tried elsewhere.
LIMITS: Final = """\
order_contracts = 100
order_dollars = 200
collar_cents = 99
cross_cents = 99
market_contracts = 100000
market_dollars = 100000
event_dollars = 100000
total_dollars = 100000
daily_loss_dollars = 100000
drawdown_dollars = 100000
open_orders_per_market = 100
open_orders = 1000
throttle_seconds = 0
orders_per_minute = 6000
burst_orders = 1000
fills_per_minute = 10000
duplicate_seconds = 0
book_age_seconds = 60
"""
_PATIENCE_S: Final = 60.0
_LOOK_S: Final = 0.05


class Restless:
    """Acts at random, in small sizes: every kind of order, and cancellations. `share`: of decisions that act."""

    name = "restless"
    actions = action_set("wide", (100, 200))
    dice: ClassVar[random.Random] = random.Random(7)  # noqa: S311 - nobody has to guess it
    share: ClassVar[float] = 0.8
    resting: ClassVar[bool] = False  # True: it holds, so that everything can come to an end

    before: ClassVar[Callable[[], None]] = lambda: None  # what happens while it thinks

    def decide(self, _: NDArray[np.float32], mask: NDArray[np.bool_]) -> int:
        type(self).before()
        if self.resting or self.dice.random() >= self.share:
            return 0
        # Now and then what is not allowed, as a model without a mask would.
        allowed = np.flatnonzero(mask) if self.dice.random() < 0.95 else np.arange(len(mask))
        return int(self.dice.choice(allowed))


class EachOnce:
    """Plays every one of the 21 actions in turn, whichever was played least, as far as it is allowed."""

    name = "each once"
    actions = action_set("default")
    played: ClassVar[Counter[int]] = Counter()
    look: ClassVar[Callable[[int], None]] = lambda _: None  # is told of each before it leaves

    def decide(self, _: NDArray[np.float32], mask: NDArray[np.bool_]) -> int:
        allowed = [number for number in np.flatnonzero(mask).tolist() if self.actions.actions[number].op == ORDER]
        if not allowed:
            return 0
        number = min(allowed, key=lambda one: (self.played[one], one))
        self.played[number] += 1
        type(self).look(number)
        return number


@dataclass(frozen=True, slots=True)
class Arrived:
    """An order as the exchange was asked for it: side 0 buys YES, 1 NO, at a price of that side. mono_ns: when."""

    mine: str
    market: str
    side: int
    price: int
    size: int
    immediate: bool
    reduce_only: bool
    mono_ns: int


@dataclass
class Watch:
    """Everything that an exchange was asked to do with orders, before any fault has its way."""

    exchange: Exchange
    clock: Clock
    arrived: list[Arrived] = dataclass_field(default_factory=list)
    asked: Counter[str] = dataclass_field(default_factory=Counter)  # requests of orders by client_order_id
    commands: Counter[str] = dataclass_field(default_factory=Counter)

    def __post_init__(self) -> None:
        faults = self.exchange.gate.fault
        assert faults is not None

        async def answer(call: Call, proceed: Proceed) -> Response:
            method = call.request.method
            name = command_of(method, call.request.url.path.removeprefix(PREFIX)) if method != "GET" else ""
            self.commands[name] += 1
            if name == "create":
                self._note(json.loads(await call.request.body()))
            return await faults(call, proceed)

        self.exchange.gate.fault = answer

    def _note(self, body: dict[str, Any]) -> None:
        side, price = int(body["side"] == "ask"), int(parse_price(body["price"]))
        self.asked[body["client_order_id"]] += 1
        order = Arrived(
            mine=body["client_order_id"],
            market=body["ticker"],
            side=side,
            price=DOLLAR - price if side else price,
            size=int(parse_size(body["count"])),
            immediate=body["time_in_force"] == "immediate_or_cancel",
            reduce_only=body.get("reduce_only", False),
            mono_ns=self.clock.mono_ns(),
        )
        self.arrived.append(order)


class Ground:
    """An exchange, a line to it, and an actor that may be started again and again."""

    def __init__(self, exchange: Exchange, proxy: Proxy, settings: Settings, dsn: str, clock: Clock) -> None:
        self.exchange, self.proxy, self.settings, self.dsn, self.clock = exchange, proxy, settings, dsn, clock
        self.watch = Watch(exchange, clock)
        self.standing = StandingFile(Path(str(settings.data.dir)) / FOLDER)
        self.reports: list[Report] = []
        self.service: Service | None = None
        self._stop = asyncio.Event()
        self._run: asyncio.Task[Report] | None = None

    @property
    def account(self) -> Account:
        """The exchange's own."""
        return self.exchange.desk.account(self.exchange.holders[0].user_id)

    @property
    def actor(self) -> Service:
        """The run that is, or was last."""
        assert self.service is not None, "start it first"
        return self.service

    # The actor.

    def arm(self, market: str | None = None) -> None:
        """As a person does."""
        self.standing.arm("a test", self.clock.wall_ns() // 1000, market)

    async def start(self) -> Service:
        """Armed, and reconciled, and every book whole. Raises what the run raises."""
        self.arm()
        self._stop, self.service = asyncio.Event(), None
        self._run = asyncio.create_task(
            trade(self.settings, Options(), stop=self._stop, say=_quiet, clock=self.clock, begun=self._begun)
        )
        await self.until(lambda: self.service is not None and self.service.state.ready, "the actor to be ready")
        await self.until(lambda: all(m.valid for m in self.actor.books.markets.values()), "whole books")
        return self.actor

    def _begun(self, service: Service) -> None:
        self.service = service

    @property
    def running(self) -> bool:
        return self._run is not None and not self._run.done()

    async def stop(self) -> Report:
        """Ask it to end. Raises what it ended with."""
        self._stop.set()
        return await self.ended()

    async def ended(self) -> Report:
        """Wait for its end. Raises what it ended with."""
        assert self._run is not None
        report = await self._run
        self.reports.append(report)
        return report

    async def close(self) -> None:
        """End what runs, however it ends."""
        self._stop.set()
        if self._run is not None:
            await asyncio.gather(self._run, return_exceptions=True)

    async def until(self, true: Callable[[], bool], what: str, within_s: float = _PATIENCE_S) -> float:
        """Wait, in the time of the clock; how long that took."""
        began_ns = self.clock.mono_ns()
        while not true():
            passed_s = (self.clock.mono_ns() - began_ns) / 1e9
            if passed_s > within_s:
                raise TimeoutError(f"waited {passed_s:.0f} s for {what}")
            if self._run is not None and self._run.done() and self._run.exception() is not None:
                self._run.result()
            await self.clock.sleep(_LOOK_S)
        return (self.clock.mono_ns() - began_ns) / 1e9

    async def traded(self, orders: int, within_s: float = _PATIENCE_S) -> None:
        """Until so many more orders have arrived at the exchange."""
        before = len(self.watch.arrived)
        await self.until(lambda: len(self.watch.arrived) >= before + orders, f"{orders} orders", within_s)

    async def quiet(self, within_s: float = 150.0) -> list[str]:
        """With a strategy that holds: until the actor's word is the exchange's. What is left of differences."""
        with suppress(TimeoutError):
            await self.until(lambda: not self.differences(), "the truth", within_s)
        return self.differences()

    def steal_lease(self) -> None:
        """As another actor does that thinks this one dead; it is gone at once."""
        with psycopg.connect(self.dsn, autocommit=True) as conn:
            conn.execute("UPDATE rl_actor_leases SET epoch = epoch + 1, holder = 'another', expires_at = now()")

    # The truth.

    def differences(self) -> list[str]:
        """Where the actor's orders, fills, positions and cash are not the exchange's own. To the micro-dollar."""
        account, service = self.account, self.actor
        found = []
        cash = sum(account.cash.values())
        if service.account.cash != cash:
            found.append(f"cash: {service.account.cash / 1e6:.6f}, and the exchange has {cash / 1e6:.6f}")
        held = {market: int(position.size) for market, position in account.positions.items() if position.size}
        ours = {market: size for market, size in service.account.positions.items() if size}
        if held != ours:
            found.append(f"positions: {ours}, and the exchange has {held}")
        for market, seat in service.actor.seats.items():
            if seat.purse.position != held.get(market, 0):
                found.append(f"{market}: the policy sees {seat.purse.position}, held are {held.get(market, 0)}")
        return found + self._orders()

    def _orders(self) -> list[str]:
        found = []
        theirs = {order.client_order_id: order for order in self.account.orders.values()}
        for mine, order in self.actor.desk.orders.items():
            there = theirs.get(mine)
            if there is None:
                if order.state not in (State.REFUSED, State.ABSENT, State.STORED):
                    found.append(f"{mine} is {order.state}, and the exchange never had it")
                continue
            cost = sum(fill.price * fill.size for fill in order.fills.values())
            fees = sum(fill.fee for fill in order.fills.values())
            told = (order.filled, cost, fees, not order.over)
            truth = (
                int(there.filled),
                int(there.taker_cost + there.maker_cost),
                int(there.taker_fees + there.maker_fees),
                there.resting,
            )
            if told != truth:
                found.append(f"{mine} {order.state}: filled, cost, fees, open {told}, at the exchange {truth}")
        return found

    def twice(self) -> list[str]:
        """Intents that were sent more than once, or of which the exchange has more than one order."""
        orders = Counter(order.client_order_id for order in self.account.orders.values() if order.client_order_id)
        return [mine for mine, times in (self.watch.asked | orders).items() if times > 1]


def _quiet(_: str) -> None:
    pass


def options_of(
    seed: int, clock: Clock, *, preset: str, markets: int, rate: float | None, terms: Terms | None
) -> ExchangeOptions:
    """An exchange that is as far away as the venue."""
    made_up = SyntheticOptions(preset=preset, markets=markets, rate=rate, seed=seed, lifetime_s=10 * 86_400)
    source: Source = SyntheticSource(made_up)
    terms = terms or Terms(tier="unlimited", seed=seed, **MEASURED)  # type: ignore[arg-type]
    return ExchangeOptions(source=source, terms=terms, clock=clock, users=2)


@asynccontextmanager
async def field(
    folder: Path,
    dsn: str,
    *,
    seed: int = 7,
    preset: str = "busy",
    markets: int = 3,
    rate: float | None = None,
    clock: Clock | None = None,
    terms: Terms | None = None,
    strategy: str = "kflow.testing.actor:Restless",
    contracts: int = 100,
    limits: str = LIMITS,
    options: ExchangeOptions | None = None,
    more: Sequence[tuple[str, Any]] = (),
) -> AsyncIterator[Ground]:
    """An exchange of its own and an actor that reaches it by a line that can be cut. `more`: settings."""
    clock = clock or SystemClock()
    Restless.dice.seed(seed)
    Restless.resting, Restless.before = False, lambda: None
    EachOnce.played.clear()
    EachOnce.look = lambda _: None
    limits_file = folder / "limits.toml"
    limits_file.write_text(limits)
    limits_file.chmod(0o600)
    (folder / "data").mkdir(mode=0o700, exist_ok=True)
    chosen = options or options_of(seed, clock, preset=preset, markets=markets, rate=rate, terms=terms)
    async with await Exchange.start(chosen) as exchange:
        host, port = exchange.rest.removeprefix("http://").partition("/")[0].split(":")
        async with Proxy((host, int(port))) as proxy:
            flags = {
                "kalshi.exchange": f"http://127.0.0.1:{proxy.port}",
                "kalshi.key_id": exchange.key_id,
                "kalshi.private_key_path": exchange.private_key_path,
                "selection.markets": tuple(list(exchange.clearing.markets)[:markets]),
                "data.dir": folder / "data",
                "database.url": dsn,
                "actor.enabled": True,
                "actor.strategy": strategy,
                "actor.venue": "exchange",
                "actor.limits": limits_file,
                "actor.contract_size": contracts,
                "actor.throttle_ms": 0,
                "actor.port": 0,
                **dict(more),
            }
            ground = Ground(exchange, proxy, load(flags, environ={}), dsn, clock)
            try:
                yield ground
            finally:
                await ground.close()
