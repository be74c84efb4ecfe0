"""A local exchange for tests: in this process, or in one of its own."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final

from kflow.exchange.faults import Fault
from kflow.exchange.listing import Listing
from kflow.exchange.messages import ORDERBOOK, Message
from kflow.exchange.scene import SyntheticOptions
from kflow.exchange.server import Exchange, ExchangeOptions
from kflow.exchange.source import ManualSource, Source
from kflow.exchange.synthetic import SyntheticSource
from kflow.exchange.writer import Writer
from kflow.kalshi.auth import ApiKey
from kflow.market.events import Level
from kflow.units import CONTRACT, Price, Size

MARKET: Final = "INXD-25JAN03-B5912"
START_US: Final = 1_735_900_000_000_000
_FOREVER_US: Final = 10**17

Books = Mapping[str, tuple[Sequence[Level], Sequence[Level]]]
Change = tuple[int, int, int]  # side, price, signed change


def listing(ticker: str = MARKET, *, structure: str = "linear_cent") -> Listing:
    """A market that stays open."""
    event, _, _ = ticker.rpartition("-")
    series = event.partition("-")[0] or ticker
    return Listing(
        ticker=ticker,
        event=event or ticker,
        series=series,
        title=ticker,
        open_us=START_US,
        close_us=START_US + _FOREVER_US,
        structure=structure,
    )


def some_levels() -> tuple[list[Level], list[Level]]:
    """A plain book: YES 40 to 44 cents, NO 50 to 54 cents, 100 contracts each; spread 2 cents."""
    yes = [(Price(4000 + 100 * i), Size(100 * CONTRACT)) for i in range(5)]
    no = [(Price(5000 + 100 * i), Size(100 * CONTRACT)) for i in range(5)]
    return yes, no


class LocalVenue:
    """An exchange on a free port of this process; `async with LocalVenue() as venue`.

    Without `synthetic` or a `source` nothing moves until the test says so: `send_deltas`, `send`. It returns once the
    bytes are with the transport; no sleeping.
    """

    def __init__(
        self,
        *,
        markets: Sequence[str | Listing] = (MARKET,),
        books: Books | None = None,
        synthetic: SyntheticOptions | None = None,
        source: Source | None = None,
        options: ExchangeOptions | None = None,
        faults: Sequence[Fault] = (),
    ) -> None:
        listings = [entry if isinstance(entry, Listing) else listing(entry) for entry in markets]
        if source is None and synthetic is not None:
            source = SyntheticSource(synthetic)
        if source is None:
            levels = {entry.ticker: some_levels() for entry in listings} if books is None else books
            source = ManualSource(listings, levels)
        base = options or ExchangeOptions(source=source)
        self._options = replace(base, source=source, faults=(*base.faults, *faults))
        self._exchange: Exchange | None = None
        self._us = itertools.count(START_US + 1_000_000, 1000)
        self._trades = itertools.count(1)

    async def __aenter__(self) -> LocalVenue:
        self._exchange = await Exchange.start(self._options)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.exchange.stop()

    @property
    def exchange(self) -> Exchange:
        assert self._exchange is not None, "use it as a context manager"
        return self._exchange

    @property
    def rest(self) -> str:
        return self.exchange.rest

    @property
    def ws(self) -> str:
        return self.exchange.ws

    @property
    def key(self) -> ApiKey:
        return ApiKey.load(self.exchange.key_id, self.exchange.private_key_path)

    @property
    def key_id(self) -> str:
        return self.exchange.key_id

    @property
    def private_key_path(self) -> Path:
        return self.exchange.private_key_path

    @property
    def snapshots_served(self) -> int:
        """Snapshots that answered a subscription or get_snapshot."""
        return self.exchange.venue.snapshots_served

    @property
    def injected(self) -> Mapping[str, int]:
        """Faults so far, by kind."""
        return dict(self.exchange.injector.injected)

    # What tests send.

    def send(self, *messages: Message) -> None:
        """Publish messages as one group."""
        self.exchange.hub.publish(messages)

    def send_deltas(self, changes: Sequence[Change], *, market: str = MARKET, venue_us: int | None = None) -> None:
        """Changes (side, price, signed change) of one market as one group of one exchange µs."""
        self.send(*self._writer(market).deltas(changes, next(self._us) if venue_us is None else venue_us))

    def send_each(self, changes: Sequence[Change], *, market: str = MARKET) -> None:
        """Each change as a group of its own."""
        for change in changes:
            self.send_deltas([change], market=market)

    def send_snapshot(self, yes: Sequence[Level], no: Sequence[Level], *, market: str = MARKET) -> None:
        """A snapshot in mid-stream; two empty sides are what the venue sends at a close."""
        self.send(self._writer(market).snapshot((yes, no), next(self._us)))

    def send_trade(self, price: int, size: int, taker: int, *, market: str = MARKET) -> None:
        """A public trade at a YES price; `taker` is the side the taker bought."""
        trade_id = f"00000000-0000-4000-8000-{next(self._trades):012x}"
        self.send(self._writer(market).trade(trade_id, (price, size, taker), next(self._us)))

    def send_ticker(self, *, market: str = MARKET) -> None:
        state = self.exchange.venue.markets[market]
        self.send(self._writer(market).ticker(state.quote(), next(self._us)))

    def inject(self, fault: Fault) -> None:
        """Arm a fault, counting from now."""
        self.exchange.injector.add(fault)

    async def accepted(self, count: int) -> None:
        """Wait until `count` sockets have come through the handshake."""
        with self.exchange.hub.changes() as changed:
            while self.exchange.hub.accepted < count:
                changed.clear()
                await changed.wait()

    async def subscribed(self, market: str = MARKET, channel: str = ORDERBOOK) -> None:
        """Wait until an open socket has subscribed to a market on a channel."""
        with self.exchange.hub.changes() as changed:
            while not self.exchange.hub.wanted(channel, frozenset({market})):
                changed.clear()
                await changed.wait()

    def close_sockets(self, code: int = 1001) -> None:
        """Close every socket cleanly."""
        for connection in tuple(self.exchange.hub.connections):
            connection.close(code)

    def cut_sockets(self) -> None:
        """Reset every socket."""
        for connection in tuple(self.exchange.hub.connections):
            connection.cut()

    def _writer(self, market: str) -> Writer:
        return Writer(self.exchange.venue.markets[market].listing, self.exchange.venue.style)


class LocalVenueProcess:
    """`kflow exchange serve` in a process of its own; `with LocalVenueProcess("--synthetic", "busy") as venue`."""

    def __init__(self, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        """`arguments` go behind `kflow exchange serve`."""
        self._arguments = arguments
        self._environment = {**os.environ, **(environment or {})}
        self.process: subprocess.Popen[str] | None = None
        self.rest = self.ws = self.key_id = ""
        self.private_key_path = Path()

    def __enter__(self) -> LocalVenueProcess:
        command = [sys.executable, "-m", "kflow", "exchange", "serve", *self._arguments]
        self.process = subprocess.Popen(  # noqa: S603 - our own program
            command, stdout=subprocess.PIPE, text=True, env=self._environment
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the exchange ended with exit code {self.process.wait()} before it was ready")
        ready = json.loads(line)
        self.rest, self.ws, self.key_id = ready["rest"], ready["ws"], ready["key_id"]
        self.private_key_path = Path(ready["private_key_path"])
        return self

    @property
    def key(self) -> ApiKey:
        return ApiKey.load(self.key_id, self.private_key_path)

    def next_event(self) -> dict[str, object]:
        """The next line it prints, for example that the recording has ended. Blocks."""
        assert self.process is not None
        assert self.process.stdout is not None
        event: dict[str, object] = json.loads(self.process.stdout.readline())
        return event

    def stop(self) -> int:
        """Ask it to end, and return its exit code."""
        assert self.process is not None
        self.process.terminate()
        code = self.process.wait(timeout=10)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None and self.process.poll() is None:
            self.stop()
        elif self.process is not None and self.process.stdout is not None:
            self.process.stdout.close()
