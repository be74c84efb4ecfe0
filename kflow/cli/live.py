"""The live view of `kflow ingest` on a terminal, fed by the session itself."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, TextIO

import msgspec

from kflow.cli.console import drawable
from kflow.cli.follow import RATES, TRADES
from kflow.cli.panels import Glance, Status, ladders_that_fit
from kflow.cli.screen import Screen
from kflow.clock import NS_PER_S
from kflow.ingest import Attach, Running, Say, http, service_of, tell
from kflow.store.known import Known, remember
from kflow.web.orderbook import trades_message
from kflow.web.pulse import Pulse
from kflow.web.service import Service
from kflow.web.state import State
from kflow.web.status import status_json
from kflow.wiring import data_dir

FRAME_S = 0.5


class LiveView:
    """Draws a session below what is printed on the terminal, until `run` is cancelled."""

    def __init__(self, service: Service, *, markets: Sequence[str] = (), stream: TextIO | None = None) -> None:
        """`markets`: whose ladders are shown, as many as fit; else the first of the session. `stream`: else stderr."""
        self._service = service
        self._markets = tuple(markets) or service.markets
        self._stream = stream or sys.stderr
        self._pulse = Pulse(service)
        # What the stream would tell of all markets and of an actor, a second old at most.
        self._told = State(service, self._pulse)
        self._rates: deque[float] = deque(maxlen=RATES)

    async def run(self) -> None:
        """Look at the session twice a second; drawing happens on another thread and holds nothing up."""
        with Screen(self._stream, whole=False) as screen:
            second, state = -1, None
            while True:
                self._pulse.look()
                now = self._service.clock.mono_ns() // NS_PER_S
                if now != second:
                    second, state = now, msgspec.json.decode(await self._told.text(now))
                    self._rates.extend(() if self._pulse.rate_per_s is None else (self._pulse.rate_per_s,))
                screen.show(self._glance(screen.columns, state))
                await self._service.clock.sleep(FRAME_S)

    def _glance(self, columns: int, state: Status | None) -> Glance:
        """What is to be shown now. On the loop's thread, which owns the books."""
        shown = self._markets[: ladders_that_fit(columns)]
        views = [self._service.books.view(market) for market in shown]
        return Glance(
            status=status_json(self._service, self._pulse),
            books=tuple(view for view in views if view is not None),
            footer="Ctrl-C ends the recording in order",
            state=state,
            trades=self._trades(shown[0]) if shown else (),
            rates=tuple(self._rates),
        )

    def _trades(self, market: str) -> tuple[Any, ...]:
        told = trades_message(market, self._service.trades.since(market, 0)[-TRADES:], 0)
        return tuple(msgspec.json.decode(told)["trades"])


def _remember(running: Running) -> None:
    """For completion, which asks no database."""
    session = running.session
    if session.number is not None:
        tickers = tuple(facts.ticker for facts in running.plan.markets)
        entry = Known(session.number, str(session.card.uuid), session.card.started_ns, tickers)
        remember(data_dir(running.settings), entry)


def attached(say: Say) -> Attach:
    """What a command hangs onto a running session: the HTTP service, and on a terminal the live view."""

    @asynccontextmanager
    async def attach(running: Running) -> AsyncIterator[None]:
        service = service_of(running)
        _remember(running)
        async with http(running, service, say):
            work = [asyncio.create_task(tell(service))]
            if drawable(sys.stderr):
                work.append(asyncio.create_task(LiveView(service).run()))
            try:
                yield
            finally:
                for task in work:
                    task.cancel()
                await asyncio.gather(*work, return_exceptions=True)

    return attach
