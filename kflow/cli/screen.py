"""Drawing on a terminal from a thread of its own.

A terminal may take its time, or stop reading altogether (Ctrl-S): whoever shows something here never waits for it.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TextIO

from rich.live import Live

from kflow.cli.console import console
from kflow.cli.panels import Glance, screen


class Screen:
    """Shows the latest glance; what came between two drawings is never drawn. `with Screen(sys.stdout) as screen`."""

    def __init__(self, stream: TextIO, *, whole: bool) -> None:
        """`whole`: take the whole terminal, and give it back as it was; else draw below what is printed."""
        # A file of our own: a write that hangs must not hold the lock of a stream that others write or flush.
        self._file = os.fdopen(os.dup(stream.fileno()), "w", encoding="utf-8")
        self._console = console(self._file)
        self._whole = whole
        self._latest: Glance | None = None
        self._news = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="kflow-screen", daemon=True)

    def __enter__(self) -> Screen:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self._news.set()
        # A terminal that is held up must not hold us up.
        self._thread.join(timeout=1.0)

    @property
    def columns(self) -> int:
        return self._console.size.width

    def show(self, glance: Glance) -> None:
        self._latest = glance
        self._news.set()

    def _work(self) -> None:
        with suppress(OSError), self._file:  # the terminal may be gone
            self._draw()

    def _draw(self) -> None:
        live = Live(console=self._console, auto_refresh=False, transient=True, screen=self._whole)
        with live, _logging_above(live):
            while not self._closing:
                self._news.wait()
                self._news.clear()
                glance = self._latest
                if glance is not None:
                    size = self._console.size
                    live.update(screen(glance, height=size.height, width=size.width), refresh=True)


@contextmanager
def _logging_above(live: Live) -> Iterator[None]:
    """Log lines go where prints go while we draw: above the drawing, not through it."""
    moved = [
        (handler, handler.setStream(sys.stderr))
        for handler in logging.getLogger().handlers
        if isinstance(handler, logging.StreamHandler) and live.is_started and handler.stream is sys.__stderr__
    ]
    try:
        yield
    finally:
        for handler, stream in moved:
            if stream is not None:
                handler.setStream(stream)
