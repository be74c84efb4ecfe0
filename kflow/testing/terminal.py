"""A pseudo-terminal, seen from the side of the person: what was drawn on it, and keys to press."""

from __future__ import annotations

import asyncio
import os
import pty
import sys
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import TextIO

WITHIN_S = 20.0
COLUMNS, LINES = 120, 40


class Terminal:
    """A terminal whose other end is `stream`, or a process made by `run`. `async with Terminal() as terminal`."""

    def __init__(self) -> None:
        self._master, slave = os.openpty()
        self.stream: TextIO = os.fdopen(slave, "w", encoding="utf-8")
        self._process: int | None = None
        # Everything that was drawn, with its control characters.
        self.seen = ""
        self._news = asyncio.Event()

    def run(self, *words: str, environment: Mapping[str, str] | None = None) -> None:
        """Run `kflow` with these words on the terminal."""
        inherited = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES")}
        size = {"TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "LINES": str(LINES)}
        self.stream.close()
        os.close(self._master)
        self._process, self._master = pty.fork()
        if not self._process:
            os.execve(  # noqa: S606
                sys.executable, [sys.executable, "-m", "kflow", *words], {**inherited, **size, **(environment or {})}
            )

    async def __aenter__(self) -> Terminal:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self.stream.close()
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)

    def read(self) -> None:
        """From now on, take in what is drawn. A terminal that does not read holds its writer up."""
        os.set_blocking(self._master, False)
        asyncio.get_running_loop().add_reader(self._master, self._readable)

    def _readable(self) -> None:
        try:
            data = os.read(self._master, 65_536)
        except OSError:  # the other end was closed
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._master)
        self.seen += data.decode("utf-8", "replace")
        self._news.set()

    async def until(self, *texts: str, within_s: float = WITHIN_S) -> None:
        """Wait until all of these were drawn."""
        async with asyncio.timeout(within_s):
            while not all(text in self.seen for text in texts):
                await self._news.wait()
                self._news.clear()

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._master, keys)

    async def ended(self) -> int:
        """Wait for the process to end; returns its exit code."""
        assert self._process is not None
        async with asyncio.timeout(WITHIN_S):
            _, status = await asyncio.to_thread(os.waitpid, self._process, 0)
        with suppress(OSError):
            while data := os.read(self._master, 65_536):
                self.seen += data.decode("utf-8", "replace")
        return os.waitstatus_to_exitcode(status)
