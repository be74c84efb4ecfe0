"""The live view of `kflow ingest` on a terminal, fed by the session itself."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TextIO

from kflow.cli.console import drawable
from kflow.cli.panels import LADDER_COLUMNS, Glance
from kflow.cli.screen import Screen
from kflow.ingest import Attach, Running, Say, http, service_of, tell
from kflow.store.known import Known, remember
from kflow.web.pulse import Pulse
from kflow.web.service import Service
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

    async def run(self) -> None:
        """Look at the session twice a second; drawing happens on another thread and holds nothing up."""
        with Screen(self._stream, whole=False) as screen:
            while True:
                screen.show(self._glance(screen.columns))
                await self._service.clock.sleep(FRAME_S)

    def _glance(self, columns: int) -> Glance:
        """What is to be shown now. On the loop's thread, which owns the books."""
        self._pulse.look()
        fitting = max(1, columns // LADDER_COLUMNS)
        views = [self._service.books.view(market) for market in self._markets[:fitting]]
        return Glance(
            status=status_json(self._service, self._pulse),
            books=tuple(view for view in views if view is not None),
            footer="Ctrl-C ends the recording in order",
        )


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
