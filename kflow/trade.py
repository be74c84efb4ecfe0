"""What `kflow actor run` runs: a policy on live books, put together from the settings, and let go in order."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from kflow import wiring
from kflow.act.actor import Actor
from kflow.act.alerts import Alerts
from kflow.act.desk import Desk
from kflow.act.kill import Groups
from kflow.act.lease import HostLock, Lease
from kflow.act.limits import Limits
from kflow.act.limits import load as load_limits
from kflow.act.live import LiveBooks, LiveMarket
from kflow.act.orders import Fill, Order
from kflow.act.pulse import Pulse, Reconciliation, Vitals
from kflow.act.purse import Purse
from kflow.act.records import Records, Run
from kflow.act.seat import Seat
from kflow.act.service import Service
from kflow.act.standing import FOLDER, Standing, StandingFile
from kflow.act.strategies import Chosen, choose
from kflow.act.supervised import supervised
from kflow.act.venue import Venue, VenueFill, VenueOrder
from kflow.clock import Clock, SystemClock
from kflow.errors import ConfigError, CredentialError, UsageError
from kflow.kalshi.auth import ApiKey
from kflow.kalshi.environments import Endpoints, Environment
from kflow.kalshi.feed import Feed
from kflow.kalshi.resolve import Selection, resolve
from kflow.kalshi.rest import RestClient, check_clock
from kflow.policy.bundle import Bundle
from kflow.record.plan import facts_of
from kflow.session.chunks import MarketFacts
from kflow.settings import Settings
from kflow.supervisor import NOBODY, Supervisor
from kflow.units import CONTRACT, DOLLAR
from kflow.web.access import Access
from kflow.web.actor import ActorService, build_actor_app
from kflow.web.server import serve

Say = Callable[[str], None]
_log = logging.getLogger(__name__)
# How often fills are asked for: the private channel is sooner; what it misses is found by asking.
_POLL_S: Final = {"paper": 0.25}
_POLL_VENUE_S: Final = 5.0
# How long an end waits for alerts to be delivered.
_ALERTS_S: Final = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line adds to the settings. cash: of the paper venue, 1e-6 dollar."""

    bundle: Bundle | None = None
    fills: str = "queue"
    latency: str = "home"
    cash: int = 1_000_000_000
    seed: int = 0


@dataclass(slots=True, kw_only=True)
class Report:
    """What a run came to; money 1e-6 dollar."""

    run: str
    venue: str
    strategy: str
    markets: int
    decisions: int = 0
    sent: int = 0
    fills: int = 0
    profit: int = 0
    mismatches: int = 0
    denied: dict[str, int] = field(default_factory=dict)
    latency_us: dict[str, int | None] = field(default_factory=dict)
    ended: str = ""


async def trade(
    settings: Settings,
    options: Options,
    *,
    stop: asyncio.Event,
    say: Say,
    clock: Clock | None = None,
    begun: Callable[[Service], None] = lambda _: None,
    supervisor: Supervisor = NOBODY,
) -> Report:
    """Trade until `stop`; `begun` is given the run before it begins.

    Raises KflowError where it may not or cannot begin, and LeaseLost where it may not go on.
    """
    clock = clock or SystemClock()
    limits = limits_of(settings)
    chosen = choose(
        settings.actor.strategy,
        options.bundle,
        contracts=limits.order_size // CONTRACT,
    )
    folder = wiring.data_dir(settings) / FOLDER
    standing = StandingFile(folder)
    now = standing.now().overall
    if now.standing is not Standing.ACTIVE:
        raise UsageError(f"the actor is {now.standing.value}: {now.reason}", hint="a person arms it: kflow actor arm")
    lock = HostLock(folder)
    try:
        async with AsyncExitStack() as stack:
            connect = stack.enter_context(wiring.connections(settings))
            venue, key = await stack.enter_async_context(wiring.venue_of(settings, say))
            facts = await _facts(venue, settings, clock, stack)
            lease = Lease(connect, _name(settings, venue), clock=clock)
            await asyncio.to_thread(lease.acquire)
            run = Run(
                run=uuid.uuid4(),
                venue=_name(settings, venue),
                epoch=lease.epoch,
                strategy=chosen.name,
                limits=limits.sha256,
                model_sha256=chosen.sha256,
            )
            service = None
            records = stack.enter_context(
                Records(connect, run, {f.ticker: f for f in facts}, clock=clock, group=lambda _: _group(service))
            )
            service, feed = await _service(
                settings, options, chosen, limits, facts, venue, key, lease, standing, records, clock, stack
            )
            say(f"run {run.run}: {chosen.name} on {len(facts)} markets at {run.venue}, epoch {lease.epoch}")
            begun(service)
            async with (
                _watched(settings, service, run, lease, records, clock, say) as pulse,
                supervised(supervisor, service, pulse, feed.status, stop),
            ):
                await service.run(stop)
            return _report(service, run, chosen, len(facts))
    finally:
        lock.release()


@asynccontextmanager
async def _watched(
    settings: Settings, service: Service, run: Run, lease: Lease, records: Records, clock: Clock, say: Say
) -> AsyncIterator[Pulse]:
    """The run's heartbeat, its alerts and its HTTP face, for as long as the block lasts."""
    actor, data = settings.actor, wiring.data_dir(settings)
    alerts = Alerts(
        clock=clock,
        webhook=actor.webhook,
        program=actor.hook,
        about={"venue": run.venue, "run": str(run.run), "strategy": run.strategy},
    )
    reconciliation = Reconciliation()
    vitals = Vitals(
        run=run,
        actor=service.actor,
        clock=clock,
        connected=lambda: service.books.connected,
        lease_lost=lambda: "" if lease.held or lease.lost == "it was given back" else lease.lost,
        reconciliation=reconciliation,
        records=records.status,
        alerts=alerts,
        account=lambda: service.account if service.state.ready else None,
    )
    pulse = Pulse(vitals, data)
    service.watch(lambda: reconciliation.done(service.state.reconciled_us, service.state.mismatches))
    web = ActorService(
        pulse=pulse,
        access=Access.for_host(settings.web.host, wiring.web_token(settings)),
        kill=service.kill,
        outcomes=records.outcomes,
        ack_s=records.ack_s,
    )
    tasks = [asyncio.create_task(alerts.run()), asyncio.create_task(pulse.run())]
    try:
        async with serve(build_actor_app(web), settings.web.host, actor.port) as served:
            say(f"health, metrics and kill at http://{settings.web.host}:{served.port}/rl/health")
            yield pulse
    finally:
        with suppress(TimeoutError):
            await asyncio.wait_for(alerts.drained(), _ALERTS_S)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def limits_of(settings: Settings) -> Limits:
    """Of the limits file, or the small defaults, with what the settings cap. Raises ConfigError."""
    found = Limits() if settings.actor.limits is None else load_limits(settings.actor.limits)
    return found.capped(contracts=settings.actor.contract_size, throttle_ms=settings.actor.throttle_ms)


def actor_key(settings: Settings) -> ApiKey:
    """The actor's own key. Raises CredentialError where it has none, or where it is the recorder's."""
    actor, kalshi = settings.actor, settings.kalshi
    environment = Environment(kalshi.environment)
    if actor.key_id is None or actor.private_key_path is None:
        if environment is Environment.LOCAL and (shared := wiring.api_key(settings)) is not None:
            return shared
        raise CredentialError(
            "orders need a key of the actor's own",
            hint="set actor.key_id and actor.private_key_path; the recorder's key should only be able to read",
        )
    if environment is not Environment.LOCAL and actor.key_id == kalshi.key_id:
        raise CredentialError(
            "the actor's key is the recorder's", hint="make a second one at the venue, and let the recorder's only read"
        )
    return ApiKey.load(actor.key_id, actor.private_key_path, environment=environment)


def require_live(settings: Settings, *, live: bool) -> None:
    """What production needs beside the typed word. Raises UsageError, ConfigError."""
    if settings.actor.venue != "exchange" or settings.kalshi.environment != "production":
        return
    if not settings.origins.get("kalshi.environment", "").startswith("file "):
        raise ConfigError(
            "production has to stand in the settings file, not in a variable or an option",
            hint="kalshi.environment in kflow.toml",
        )
    if not live:
        raise UsageError("orders for real money need --live", hint="kflow actor run --live, or actor.venue = paper")
    if settings.actor.limits is None:
        raise ConfigError("orders for real money need a limits file", hint="kflow actor limits > limits.toml")


def _name(settings: Settings, venue: Endpoints) -> str:
    return "paper" if settings.actor.venue == "paper" else venue.environment.value


def _group(service: Service | None) -> str | None:
    return None if service is None else service.group


async def _facts(venue: Endpoints, settings: Settings, clock: Clock, stack: AsyncExitStack) -> tuple[MarketFacts, ...]:
    chosen = settings.selection
    client = await stack.enter_async_context(RestClient(venue, clock=clock))
    await check_clock(client)
    selection = Selection(
        markets=chosen.markets, events=chosen.events, series=chosen.series, max_markets=chosen.max_markets
    )
    resolution = await resolve(client, selection)
    return await facts_of(client, resolution.markets)


async def _service(
    settings: Settings,
    options: Options,
    chosen: Chosen,
    limits: Limits,
    facts: Sequence[MarketFacts],
    endpoints: Endpoints,
    key: ApiKey,
    lease: Lease,
    standing: StandingFile,
    records: Records,
    clock: Clock,
    stack: AsyncExitStack,
) -> tuple[Service, Feed]:
    """Markets, venue, desk, actor and the tasks around them."""
    markets = [LiveMarket.of(each) for each in facts]
    purses = {m.facts.ticker: Purse(m.facts.ticker, chosen.cash, m.fees) for m in markets}
    seats = {m.facts.ticker: Seat(m, chosen, purses[m.facts.ticker]) for m in markets}
    link = _Link()
    paper = _paper(markets, options, clock, link) if settings.actor.venue == "paper" else None
    venue: Venue = paper if paper is not None else await _exchange(settings, facts, endpoints, clock, stack)
    desk = Desk(
        venue,
        records,
        purses,
        clock=clock,
        group=lambda _: link.service.group if link.service else None,
        may_send=lambda market: link.actor.may_send(market) if link.actor else False,
        leaving=lambda market: link.actor.leaving(market) if link.actor else None,
        heard=link.heard,
    )
    actor = Actor(
        chosen,
        seats,
        desk,
        limits=limits,
        standing=standing,
        epoch=lambda: lease.epoch if lease.held else None,
        cash=lambda: link.service.cash() if link.service else None,
        clock=clock,
        diary=records,
        run=records.run.run,
    )
    books = LiveBooks(
        markets,
        clock=clock,
        other=lambda event: link.service.other(event) if link.service else None,
        events=paper.events if paper is not None else (lambda _events, _mono_ns: None),
        traded=lambda market, side, yes, size: seats[market].traded(side, yes, size, desk.open(market)),
        lost=paper.lost if paper is not None else (lambda: None),
        private=paper is None,
    )
    feed_key = key if paper is not None else actor_key(settings)
    feed = Feed(endpoints.ws, feed_key, books, clock=clock)
    service = Service(
        actor,
        books,
        venue,
        lease,
        standing,
        Groups(standing.folder),
        records,
        clock=clock,
        feed=feed.run,
        poll_s=_POLL_S.get(venue.name, _POLL_VENUE_S),
        beat=paper.pass_time if paper is not None else (lambda: None),
        values=partial(_values, await stack.enter_async_context(RestClient(endpoints, clock=clock))),
        settle=paper.settle if paper is not None else (lambda _market, _value: None),
    )
    link.actor, link.service = actor, service
    return service, feed


async def _values(client: RestClient, markets: Sequence[str]) -> dict[str, int]:
    """What YES was paid in those of the markets whose result the venue says."""
    found: dict[str, int] = {}
    for name in markets:
        market = await client.market(name)
        if market.settlement_value is not None:
            found[name] = int(market.settlement_value)
        elif market.result in ("yes", "no"):
            found[name] = int(DOLLAR) if market.result == "yes" else 0
    return found


class _Link:
    """What is made last, for what is made first."""

    def __init__(self) -> None:
        self.actor: Actor | None = None
        self.service: Service | None = None

    def heard(self, order: Order, fill: Fill) -> None:
        if self.service is not None:
            self.service.heard(order, fill)

    def told(self, fills: Sequence[VenueFill], ended: Sequence[VenueOrder]) -> None:
        if self.service is not None:
            self.service.told(fills, ended)


def _paper(markets: Sequence[LiveMarket], options: Options, clock: Clock, link: _Link) -> Any:
    """Only paper loads the simulator, and with it numba."""
    from kflow.act.paper import PaperVenue, Terms
    from kflow.sim.assume import parse_latency
    from kflow.sim.fills import Assumptions, model_named

    model, latency = model_named(options.fills), parse_latency(options.latency)
    terms = {m.facts.ticker: Terms(m.grid, Assumptions(model=model, latency=latency, fees=m.fees)) for m in markets}
    return PaperVenue(terms, cash=options.cash, clock=clock, seed=options.seed, heard=link.told)


async def _exchange(
    settings: Settings, facts: Sequence[MarketFacts], endpoints: Endpoints, clock: Clock, stack: AsyncExitStack
) -> Venue:
    from kflow.act.kalshi import KalshiVenue
    from kflow.kalshi.trading import TradingClient

    client = await stack.enter_async_context(TradingClient(endpoints, clock=clock, key=actor_key(settings)))
    return KalshiVenue(client, {f.ticker: f.exchange_index for f in facts if f.exchange_index is not None})


def _report(service: Service, run: Run, chosen: Chosen, markets: int) -> Report:
    actor = service.actor
    tally = actor.tally
    latencies = sorted(tally.latency_us)

    def at(share: float) -> int | None:
        return latencies[min(int(share * len(latencies)), len(latencies) - 1)] if latencies else None

    return Report(
        run=str(run.run),
        venue=run.venue,
        strategy=chosen.name,
        markets=markets,
        decisions=tally.decisions,
        sent=tally.sent,
        fills=tally.fills,
        profit=sum(
            seat.purse.equity(seat.market.view, seat.market.prices) - seat.purse.cash_at_start
            for seat in actor.seats.values()
        ),
        mismatches=service.state.mismatches,
        denied={reason: count for reason, count in tally.guard.by_reason().items() if count},
        latency_us={"p50": at(0.5), "p99": at(0.99)},
        ended=service.state.ended,
    )
