"""The local exchange: REST and WebSocket on one loopback port, fed by a source."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import shutil
import socket
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final

import msgspec
import uvicorn

from kflow.clock import Clock, SystemClock
from kflow.errors import ConfigError, PortTaken
from kflow.exchange.access import Access
from kflow.exchange.answers import PREFIX, application
from kflow.exchange.clearing import Clearing
from kflow.exchange.control import Control
from kflow.exchange.desk import Desk
from kflow.exchange.faults import Fault, Injector
from kflow.exchange.gate import Gate
from kflow.exchange.holders import Holder, new_holders
from kflow.exchange.hub import OVERFLOW_BYTES, PING_INTERVAL_S, Hub
from kflow.exchange.market import Venue
from kflow.exchange.messages import PLAIN, Message, Style
from kflow.exchange.scene import SyntheticOptions
from kflow.exchange.shadow import ShadowBook
from kflow.exchange.site import exchange_routes
from kflow.exchange.source import Source
from kflow.exchange.stream import WS_PATH, StreamProtocol
from kflow.exchange.synthetic import SyntheticSource
from kflow.exchange.terms import Terms
from kflow.exchange.trade_faults import TradeFaults
from kflow.exchange.truth import TruthLog

LOOPBACK: Final = "127.0.0.1"
_TICK_S: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeOptions:
    """How an exchange is set up."""

    source: Source = field(default_factory=lambda: SyntheticSource(SyntheticOptions()))
    # Where it listens: loopback only; port 0 takes any free one.
    host: str = LOOPBACK
    port: int = 0
    # What goes wrong, and where the truth of what was sent is kept (None: nowhere).
    faults: Sequence[Fault] = ()
    truth: Path | None = None
    style: Style = PLAIN
    clock: Clock = field(default_factory=SystemClock)
    # How orders are treated, and how many users there are.
    terms: Terms = field(default_factory=Terms)
    users: int = 1
    # Where the users' new keys are written (None: a private folder that goes with the exchange), and their kind.
    key_folder: Path | None = None
    rsa: bool = False  # else Ed25519, which is quicker
    # Sockets: how often they are pinged, and how much may pile up for a slow reader before error 25.
    ping_interval_s: float = PING_INTERVAL_S
    overflow_bytes: float = OVERFLOW_BYTES


class _Server(uvicorn.Server):
    """Leaves signals to whoever started us."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Exchange:
    """A running exchange; `async with await Exchange.start(options)` stops it at the end."""

    def __init__(self, options: ExchangeOptions, listener: socket.socket) -> None:
        self._options, self._listener = options, listener
        clock = options.clock
        self.venue: Final = Venue(options.style)
        self.access: Final = Access(clock)
        self.truth: Final = TruthLog(clock, options.truth)
        self.injector: Final = Injector(clock, self.truth, options.faults)
        self.hub: Final = Hub(
            clock=clock, venue=self.venue, access=self.access, truth=self.truth, injector=self.injector
        )
        self.hub.ping_interval_s, self.hub.overflow_bytes = options.ping_interval_s, options.overflow_bytes
        self.clearing: Final = Clearing(self.venue, clock, options.terms, self._publish)
        self.desk: Final = Desk(self.clearing)
        self.control: Final = Control(self.desk)
        self.gate: Final = Gate(self.desk, self.access, clock)
        self.hub.observer = self.desk.observe
        self._trade_faults: Final = TradeFaults(self.injector, self.control, self.truth, clock)
        self.gate.fault = self._trade_faults.answer
        host, port = listener.getsockname()[:2]
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.rest: Final = f"http://{where}{PREFIX}"
        self.ws: Final = f"ws://{where}{WS_PATH}"
        self._own_folder = tempfile.mkdtemp(prefix="kflow-exchange-") if options.key_folder is None else None
        self.holders: tuple[Holder, ...] = ()
        self._late: deque[Sequence[Message]] = deque()  # what the feed's latency holds back
        # Set when the source has sent its last message and every socket has taken what was buffered.
        self.finished: Final = asyncio.Event()
        self._server: _Server | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def start(cls, options: ExchangeOptions) -> Exchange:
        """Listen and begin. Raises PortTaken, ConfigError (not loopback), JournalError (truth log)."""
        exchange = cls(options, _listen(options.host, options.port))
        try:
            await exchange._begin()
        except BaseException:
            await exchange.stop()
            raise
        return exchange

    async def _begin(self) -> None:
        options = self._options
        self._open_accounts()
        source = options.source
        source.prepare(self.control, options.clock.wall_ns() // 1000)
        for state in self.venue.live():
            if state.listing.ticker not in self.clearing.markets:
                self.clearing.open_market(state.listing, ShadowBook(state))
        self.hub.sids = source.sids
        config = uvicorn.Config(
            application(exchange_routes(self.venue, self.gate), options.clock),
            ws=functools.partial(StreamProtocol, self.hub),  # type: ignore[arg-type]
            log_config=None,
            access_log=False,
            lifespan="off",
            date_header=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=1,
        )
        self._server = _Server(config)
        self._tasks.append(asyncio.create_task(self._server.serve(sockets=[self._listener])))
        while not self._server.started:
            if self._tasks[0].done():
                self._tasks[0].result()
            await asyncio.sleep(0)
        self._tasks.append(asyncio.create_task(self._feed(source)))
        self._tasks.append(asyncio.create_task(self._pass_time()))

    def _open_accounts(self) -> None:
        options = self._options
        folder = options.key_folder or Path(str(self._own_folder))
        self.holders = new_holders(folder, options.users, rsa=options.rsa)
        for holder in self.holders:
            self.access.register(holder.key_id, holder.public_key, holder.user_id)
            self.desk.open_account(holder.user_id)
        self.hub.audience, self.access.dismiss = self.access.audience, self.hub.dismiss

    @property
    def key_id(self) -> str:
        """Of the first user."""
        return self.holders[0].key_id

    @property
    def private_key_path(self) -> Path:
        """Of the first user."""
        return self.holders[0].private_key_path

    def _publish(self, messages: Sequence[Message]) -> None:
        """Send what the trading half says, at once or as late as the feed is."""
        self.truth.published(messages)
        latency_s = self._options.terms.feed_latency_s
        if latency_s:
            self._late.append(messages)  # timers alone would not keep the order of equal moments
            asyncio.get_running_loop().call_later(latency_s, lambda: self.hub.publish(self._late.popleft()))
        else:
            self.hub.publish(messages)

    async def _pass_time(self) -> None:
        """Let orders expire and markets close while nothing else happens."""
        while True:
            self.control.advance()
            self._trade_faults.tick()
            self.desk.flush()
            await self._options.clock.sleep(_TICK_S)

    async def _feed(self, source: Source) -> None:
        await source.run(self.hub)
        await self.hub.drained()
        self.truth.sync()
        self.finished.set()

    def ready_line(self) -> str:
        """One line of JSON that says where the exchange is and how to sign."""
        users = [holder.document() for holder in self.holders]
        ready = {"rest": self.rest, "ws": self.ws, **users[0], "users": users}
        return msgspec.json.encode(ready).decode()

    async def failed(self) -> None:
        """Wait for ever, or until a part of the exchange fails: then raise what it raised."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
        await asyncio.Event().wait()

    async def stop(self) -> None:
        """Close every socket and free the port."""
        if self._server is not None:
            self._server.should_exit = True
        for task in self._tasks[1:]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._listener.close()
        self.truth.close()
        if self._own_folder is not None:
            shutil.rmtree(self._own_folder, ignore_errors=True)

    async def __aenter__(self) -> Exchange:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


def _listen(host: str, port: int) -> socket.socket:
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        address = None
    if address is None or not address.is_loopback:
        raise ConfigError(f"the local exchange listens on loopback only, not on {host}", hint="use --host 127.0.0.1")
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    # Named as TCP, or asyncio leaves Nagle's algorithm on, which holds a small frame back for 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((str(address), port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise PortTaken(host, port) from error
    listener.setblocking(False)
    return listener
