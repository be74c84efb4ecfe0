"""The live view of a session: what it shows, and that no terminal can hold it up."""

from __future__ import annotations

import asyncio
import io
import logging
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from kflow.cli.console import drawable
from kflow.cli.live import LiveView
from kflow.testing.recording import FIRST, SECOND, HandDriven
from kflow.testing.terminal import Terminal


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TERM": "xterm", "COLUMNS": "120", "LINES": "40"}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def session(tmp_path: Path) -> HandDriven:
    session = HandDriven(tmp_path)
    session.start()
    return session


async def test_it_shows_the_session_as_it_moves(session: HandDriven) -> None:
    async with Terminal() as terminal, viewing(session, terminal):
        terminal.read()
        await terminal.until("Ctrl-C ends the recording", FIRST, SECOND)
        session.receive(session.delta("0.4500", "77.00"))
        session.clock.advance(1)
        await terminal.until("77.00")


async def test_its_end_leaves_a_clean_terminal(session: HandDriven) -> None:
    async with Terminal() as terminal:
        async with viewing(session, terminal):
            terminal.read()
            await terminal.until("Ctrl-C ends the recording")
        await terminal.until("\x1b[?25h")  # the cursor is back
        # Up to the first line of the drawing and wiped: what is printed next stands alone.
        assert "\x1b[1A\x1b[2K" in terminal.seen.rpartition("Ctrl-C ends the recording")[2]


async def test_a_terminal_that_stopped_reading_holds_nothing_up(session: HandDriven) -> None:
    async with Terminal() as terminal:
        async with viewing(session, terminal):
            for number in range(300):  # far more than a terminal's buffer holds, and nobody reads
                session.receive(session.delta("0.4300", f"{number + 1}.00"))
                session.clock.advance(1)
                await asyncio.sleep(0)
            began = time.monotonic()
        assert time.monotonic() - began < 3
        assert session.recorder.status.total_messages == 302
        terminal.read()  # let the drawing thread go
        await terminal.until("\x1b[?25h")


async def test_log_lines_stand_above_the_drawing(session: HandDriven, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Terminal() as terminal:
        monkeypatch.setattr(sys, "__stderr__", terminal.stream)
        handler = logging.StreamHandler(terminal.stream)
        logging.getLogger().addHandler(handler)
        try:
            async with viewing(session, terminal):
                terminal.read()
                await terminal.until("Ctrl-C ends the recording")
                logging.getLogger("kflow").warning("a line from the log")
                await terminal.until("a line from the log")
        finally:
            logging.getLogger().removeHandler(handler)
        # The drawing is wiped before something is printed above it.
        assert "\x1b[2K" in terminal.seen.partition("a line from the log")[0]
        assert handler.stream is terminal.stream


async def test_only_a_terminal_that_can_be_drawn_on_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async with Terminal() as terminal:
        monkeypatch.setenv("TERM", "xterm")
        assert drawable(terminal.stream)
        monkeypatch.setenv("TERM", "dumb")
        assert not drawable(terminal.stream)
    monkeypatch.setenv("TERM", "xterm")
    assert not drawable(io.StringIO())


@asynccontextmanager
async def viewing(session: HandDriven, terminal: Terminal) -> AsyncIterator[None]:
    view = asyncio.create_task(LiveView(session.service(), stream=terminal.stream).run())
    try:
        yield
    finally:
        view.cancel()
        with suppress(asyncio.CancelledError):
            await view
