"""How a person leaves a live view: q, Ctrl-C or a signal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from typing import Final

LEAVING: Final = frozenset(b"qQ\x03\x04")  # with Ctrl-C and Ctrl-D, for terminals that send them as characters


@contextlib.contextmanager
def leaving() -> Iterator[asyncio.Event]:
    """An event that is set when the view should end. Keys are read only from a terminal, which is restored after."""
    loop, left = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, left.set)
    try:
        with _keys(loop, left):
            yield left
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


@contextlib.contextmanager
def _keys(loop: asyncio.AbstractEventLoop, left: asyncio.Event) -> Iterator[None]:
    # A job in the background may not touch its terminal: it would be stopped.
    if not sys.stdin.isatty() or os.tcgetpgrp(sys.stdin.fileno()) != os.getpgrp():
        yield
        return
    keyboard = sys.stdin.fileno()

    def pressed() -> None:
        typed = os.read(keyboard, 64)
        if not typed:
            loop.remove_reader(keyboard)  # the terminal is gone
        if not typed or LEAVING.intersection(typed):
            left.set()

    before = termios.tcgetattr(keyboard)
    tty.setcbreak(keyboard)
    loop.add_reader(keyboard, pressed)
    try:
        yield
    finally:
        loop.remove_reader(keyboard)
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
