"""The keyboard of a live view: how a person leaves it, turns to another market, and asks for help."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from typing import Final

LEAVING: Final = frozenset(b"qQ\x03\x04")  # with Ctrl-C and Ctrl-D, for terminals that send them as characters
# What keys do, by what terminals send for them: arrows in both modes, Tab and Shift-Tab, and keys for one hand.
_NEXT: Final = (b"\x1b[C", b"\x1bOC", b"\x1b[B", b"\x1bOB", b"\t", b"n", b"l", b"j")
_BEFORE: Final = (b"\x1b[D", b"\x1bOD", b"\x1b[A", b"\x1bOA", b"\x1b[Z", b"p", b"h", b"k")
KEYS: Final = {**dict.fromkeys(_NEXT, "next"), **dict.fromkeys(_BEFORE, "before"), b"?": "help"}
HELP: Final = (
    "q Ctrl-C  quit            → ↓ Tab n  next market     ← ↑ Shift-Tab p  the one before\n"
    "?         hide this       ◆ left, ahead: our orders  trades: green bought YES, red NO\n"
    "dim       stale, last known                          markets: ◆ holds orders of ours"
)

Pressed = Callable[[str], None]


def actions(typed: bytes) -> Iterator[str]:
    """What the keys in `typed` mean; others mean nothing."""
    while typed:
        key = next((key for key in KEYS if typed.startswith(key)), b"")
        if key:
            yield KEYS[key]
        typed = typed[len(key) or 1 :]


@contextlib.contextmanager
def leaving(pressed: Pressed | None = None) -> Iterator[asyncio.Event]:
    """An event that is set when the view should end. Keys are read only from a terminal, which is restored after.

    `pressed` is told what other keys mean: next, before or help.
    """
    loop, left = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, left.set)
    try:
        with _keys(loop, left, pressed):
            yield left
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


@contextlib.contextmanager
def _keys(loop: asyncio.AbstractEventLoop, left: asyncio.Event, told: Pressed | None) -> Iterator[None]:
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
        elif told is not None:
            for meaning in actions(typed):
                told(meaning)

    before = termios.tcgetattr(keyboard)
    tty.setcbreak(keyboard)
    loop.add_reader(keyboard, pressed)
    try:
        yield
    finally:
        loop.remove_reader(keyboard)
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
