"""What `kflow ingest` runs: a session with its feed, the HTTP service, and the recovery of sessions before it."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import psycopg

from kflow import wiring
from kflow.act.pulse import read as sign_of_actor
from kflow.act.standing import FOLDER, StandingFile
from kflow.clock import Clock, SystemClock
from kflow.errors import KflowError, UsageError
from kflow.kalshi.feed import Feed
from kflow.kalshi.resolve import Selection, resolve
from kflow.kalshi.rest import RestClient, check_clock
from kflow.record.handoff import BatchLimits
from kflow.record.plan import facts_of
from kflow.record.recorder import Plan
from kflow.record.session import Connect, RecordingOptions, RecordingSession, new_card, recover
from kflow.settings import Settings, declared, unknown_variables
from kflow.supervisor import NOBODY, Supervisor
from kflow.web.access import Access
from kflow.web.app import build_app
from kflow.web.changes import Changes
from kflow.web.health import judge, unready
from kflow.web.pulse import LOOK_S, Pulse
from kflow.web.server import require_free, serve
from kflow.web.service import Service

Say = Callable[[str], None]
# So much longer a start may take once the feed's loop came round again, and an end once it is seen to go on.
EXTENSION_S: Final = 30.0
# Loading what earlier runs left is waited for so long at the end; the next run goes on where this one was stopped.
RECOVERY_S: Final = 300.0
_STATUS_LOOKS: Final = 10
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestResult:
    """How a run ended. Counts are of this run; the tables and `kflow sessions show` are the truth."""

    session: int
    uuid: str
    markets: int
    messages: int
    gaps: int
    stored: bool  # False: the next run loads the rest from the journal


class Stop:
    """The wish to end: a signal, a request, or the end of the duration."""

    def __init__(self) -> None:
        self.wished = asyncio.Event()

    def on_signals(self, say: Say) -> None:
        """First signal: drain. Second: leave at once; the journal has everything, the next run loads it."""
        loop = asyncio.get_running_loop()

        def signalled() -> None:
            if self.wished.is_set():
                os._exit(0)
            say("stopping; once more to leave at once (nothing is lost either way)")
            self.wished.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, signalled)


@dataclass(frozen=True, slots=True)
class Running:
    """A session under way, for whoever shows or serves it."""

    session: RecordingSession
    feed: Feed
    stop: Stop
    plan: Plan
    settings: Settings
    clock: Clock


Attach = Callable[[Running], AbstractAsyncContextManager[None]]


def service_of(running: Running) -> Service:
    """The session as the HTTP service and the live view see it."""
    session, settings = running.session, running.settings
    folder = wiring.data_dir(settings)
    return Service(
        books=session.books,
        trades=session.recorder.trades,
        recorder=session.recorder.status,
        feed=running.feed.status,
        clock=running.clock,
        access=Access.for_host(settings.web.host, wiring.web_token(settings)),
        standing=StandingFile(folder / FOLDER),
        stop=running.stop.wished.set,
        draining=running.stop.wished.is_set,
        writer=lambda: None if session.writer is None else session.writer.status,
        actor=lambda: sign_of_actor(folder, enabled=settings.actor.enabled, clock=running.clock),
        session_number=lambda: session.number,
        markets=tuple(facts.ticker for facts in running.plan.markets),
        configuration={item.key: item.public(settings.value(item.key)) for item in declared()},
    )


@asynccontextmanager
async def http(running: Running, service: Service, say: Say) -> AsyncIterator[None]:
    """The HTTP service, for as long as the block lasts. Raises PortTaken, ConfigError."""
    web = running.settings.web
    async with serve(build_app(service), web.host, web.port) as served:
        say(f"health, books and metrics at http://{web.host}:{served.port}/rl/health")
        say(f"look at http://{web.host}:{served.port}/")
        yield


async def tell(service: Service) -> None:
    """Say on stderr what falls ill and what is well again, until cancelled or the session ends."""
    pulse, changes = Pulse(service), Changes()
    while True:
        await service.clock.sleep(LOOK_S)
        if service.draining():
            return
        pulse.look()
        for sentence in changes.since(judge(service, pulse)):
            _log.warning("%s", sentence)


@asynccontextmanager
async def supervised(service: Service, supervisor: Supervisor) -> AsyncIterator[None]:
    """Tell the service manager how the session goes for as long as the block lasts, and then that it ends."""
    telling = asyncio.create_task(_tell_supervisor(service, supervisor)) if supervisor.listens else None
    try:
        yield
    finally:
        if telling is not None:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
        supervisor.stopping("writing what is left into the tables")


async def _tell_supervisor(service: Service, supervisor: Supervisor) -> None:
    """Ready when /readyz is; alive for each look between which the feed's loop came round."""
    pulse, turns, looks, ready = Pulse(service), service.feed.turns, 0, False
    while True:
        pulse.look()
        why = unready(service, pulse)
        if service.feed.turns != turns:
            turns = service.feed.turns
            supervisor.alive()
            if not ready:
                supervisor.extend(EXTENSION_S)
        if not ready and not why:
            ready = True
            supervisor.ready()
            looks = 0
        if looks % _STATUS_LOOKS == 0 or why:
            supervisor.say("; ".join(why) or _sentence(service))
        looks += 1
        await service.clock.sleep(LOOK_S)


def _sentence(service: Service) -> str:
    counts, gaps = service.books.counts(), service.recorder.gaps.total()
    return (
        f"session {service.session_number()}: {counts['live']} of {sum(counts.values())} books live, "
        f"{service.recorder.total_messages:,} messages, {gaps:,} gaps"
    )


async def _patiently(recovering: asyncio.Task[None], supervisor: Supervisor) -> None:
    """Wait for recovery, but not for ever where somebody waits for us."""
    step_s = EXTENSION_S / 3
    for _ in range(int(RECOVERY_S / step_s) if supervisor.listens else 0):
        if (await asyncio.wait([recovering], timeout=step_s))[0]:
            break
        supervisor.say("loading what earlier sessions left; the next run goes on with it if this one is killed")
        supervisor.extend(EXTENSION_S)
    await recovering


def checked(settings: Settings, *, duration_s: float | None, say: Say) -> Settings:
    """The settings of a run, once what can be refused without touching anything is refused.

    Raises UsageError, ConfigError, PortTaken.
    """
    if duration_s is not None and not (math.isfinite(duration_s) and duration_s > 0):
        raise UsageError(f"--duration {duration_s:g} makes no sense", hint="give seconds, above 0; without it: no end")
    for name, near in unknown_variables():
        say(f"note: nothing reads the variable {name}" + (f"; did you mean {near}?" if near else ""))
    chosen = settings.selection
    if chosen.min_volume is not None and not chosen.all:
        raise UsageError("--min-volume chooses among all markets", hint="pass --all with it, or leave it out")
    if not (chosen.all or any(name.strip() for name in (*chosen.markets, *chosen.events, *chosen.series))):
        if settings.kalshi.environment != "local":
            raise UsageError("no market is named", hint="name one with --market, --event or --series, or pass --all")
        from kflow.exchange.catalogue import EVENT

        say(f"no market is named: recording {EVENT}, which local exchanges make up (--market names another)")
        settings = replace(settings, selection=replace(chosen, markets=(EVENT,)))
    wiring.web_token(settings)
    require_free(settings.web.host, settings.web.port)
    return settings


async def ingest(
    settings: Settings, *, duration_s: float | None, say: Say, attach: Attach, supervisor: Supervisor = NOBODY
) -> IngestResult:
    """Record until stopped. `attach` is entered with the running session: the HTTP service and the live view.

    Raises KflowError where the recording cannot begin, or where the venue refuses our key or our commands.
    """
    settings = checked(settings, duration_s=duration_s, say=say)
    stop = Stop()
    stop.on_signals(say)
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        supervisor.say("starting the database, then asking the venue")
        connect = stack.enter_context(wiring.connections(settings))
        venue, key = await stack.enter_async_context(wiring.venue_of(settings, say))
        async with RestClient(venue, clock=clock) as client:
            await check_clock(client)
            plan = await _plan(client, settings, say)
        root = journal_root(settings)
        session = _session(settings, plan, connect, clock)
        number = await asyncio.to_thread(session.begin)
        say(f"session {number}: recording {_markets(len(plan.markets))} to {session.directory}")
        running = Running(session, session.feed(venue.ws, key), stop, plan, settings, clock)
        recovering = asyncio.create_task(asyncio.to_thread(_recover, root, connect, clock, say))
        try:
            async with attach(running), supervised(service_of(running), supervisor):
                await _until_stopped(running, duration_s)
        finally:
            stored = await session.end()
            await _patiently(recovering, supervisor)
        return _result(session, number, stored)


async def _until_stopped(running: Running, duration_s: float | None) -> None:
    """Run the feed until it fails for good, somebody wishes to stop, or the duration is over."""
    feed = asyncio.create_task(running.feed.run())
    wish = asyncio.create_task(running.stop.wished.wait())
    try:
        await asyncio.wait([feed, wish], timeout=duration_s, return_when=asyncio.FIRST_COMPLETED)
        if feed.done():
            feed.result()
    finally:
        running.stop.wished.set()
        feed.cancel()
        await asyncio.gather(feed, wish, return_exceptions=True)


def _markets(count: int) -> str:
    return "1 market" if count == 1 else f"{count:,} markets"


def journal_root(settings: Settings) -> Path:
    """Where the journals of all sessions lie, a folder each."""
    return wiring.data_dir(settings) / "journal"


async def _plan(client: RestClient, settings: Settings, say: Say) -> Plan:
    chosen = settings.selection
    selection = Selection(
        markets=chosen.markets,
        events=chosen.events,
        series=chosen.series,
        all=chosen.all,
        min_volume=chosen.min_volume,
        max_markets=chosen.max_markets,
    )
    resolution = await resolve(client, selection)
    for note in resolution.notes:
        say(note)
    return Plan(markets=await facts_of(client, resolution.markets))


def _session(settings: Settings, plan: Plan, connect: Connect, clock: Clock) -> RecordingSession:
    recorder = settings.recorder
    rows = recorder.batch_rows
    options = RecordingOptions(
        batch=BatchLimits(rows=rows, age_s=recorder.flush_interval_s, most=max(rows, 10_000)),
        queue_rows=recorder.queue_rows,
        sync_interval_s=recorder.fsync_interval_s,
        sample_rate=recorder.sample_rate,
    )
    root = journal_root(settings)
    card = new_card(
        environment=settings.kalshi.environment,
        use_yes_price=plan.use_yes_price,
        sample_rate=recorder.sample_rate,
        selection=asdict(settings.selection),
        clock=clock,
        journal_root=root,
    )
    return RecordingSession(root, plan, connect, card=card, clock=clock, options=options)


def _recover(root: Path, connect: Connect, clock: Clock, say: Say) -> None:
    """Load what earlier runs left behind. A failure is told, and tried again by the next run."""
    try:
        for done in recover(root, connect, clock=clock):
            say(f"session {done.number} had not ended in order: loaded {done.loaded_bytes} bytes of its journal")
            if done.damaged_bytes:
                say(f"session {done.number}: {done.damaged_bytes} bytes of its journal are damaged; its gaps say when")
    except (KflowError, psycopg.Error) as error:
        say(f"earlier sessions could not be loaded, the next run tries again: {error}")


def _result(session: RecordingSession, number: int, stored: bool) -> IngestResult:
    status = session.recorder.status
    return IngestResult(
        session=number,
        uuid=str(session.card.uuid),
        markets=len(session.recorder.plan.markets),
        messages=status.total_messages,
        gaps=status.gaps.total(),
        stored=stored,
    )
