"""Serving until told to stop: what `kflow exchange serve` does once its options are parsed."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import msgspec
from websockets.frames import CloseCode

from kflow.errors import UsageError
from kflow.exchange.presets import PRESETS
from kflow.exchange.recorded import RecordedOptions, RecordedSource
from kflow.exchange.scene import SyntheticOptions
from kflow.exchange.server import Exchange, ExchangeOptions
from kflow.exchange.source import Source
from kflow.exchange.synthetic import SyntheticSource

SPEEDS = "a number of times real time, for example 1 or 10, or max"


def parse_speed(text: str) -> float | None:
    """Times real time; None for max. Raises UsageError."""
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed <= 1e6:
        raise UsageError(f"--speed {text} makes no sense", hint=f"give {SPEEDS}")
    return speed


def synthetic_source(options: SyntheticOptions) -> Source:
    """Raises UsageError for a preset that does not exist or numbers that make no sense."""
    if options.preset not in PRESETS:
        raise UsageError(f"there is no preset {options.preset}", hint=f"choose one of {', '.join(PRESETS)}")
    if not 1 <= options.markets <= 10_000:
        raise UsageError(f"cannot list {options.markets} markets", hint="--markets takes 1 to 10000")
    if options.rate is not None and not 0 < options.rate <= 1e6:
        raise UsageError(f"--rate {options.rate:g} makes no sense", hint="give messages per second, above 0")
    if options.seed < 0:
        raise UsageError(f"--seed {options.seed} makes no sense", hint="give a whole number, 0 or more")
    if options.limit is not None and options.limit < 1:
        raise UsageError(f"--limit {options.limit} makes no sense", hint="give how many messages, 1 or more")
    if not 1 <= options.lifetime_s <= 1e9:
        raise UsageError(f"--lifetime {options.lifetime_s:g} makes no sense", hint="give seconds, 1 or more")
    return SyntheticSource(options)


def recorded_source(path: Path, speed: float | None, *, waits: bool = True) -> Source:
    """Raises ConfigError or DataError where the file cannot be played."""
    return RecordedSource(RecordedOptions(path=path, speed=speed, waits=waits))


async def serve(options: ExchangeOptions, announce: Callable[[str], None], *, until_end: bool = False) -> None:
    """Run an exchange; `announce` gets its ready line and, when the source has ended, a line that says so.

    Returns on SIGINT or SIGTERM, and with `until_end` once everything is sent. Raises PortTaken, ConfigError,
    JournalError.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with await Exchange.start(options) as exchange:
        announce(exchange.ready_line())
        stopped, failed, ended = (
            loop.create_task(stop.wait()),
            loop.create_task(exchange.failed()),
            loop.create_task(_ended(exchange, announce)),
        )
        try:
            waiting = {stopped, failed, ended}
            while True:
                done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if failed in done:
                    failed.result()
                if stopped in done:
                    return
                if until_end:
                    await exchange.hub.close_all(CloseCode.GOING_AWAY)  # after what is buffered
                    return
                waiting.discard(ended)
        finally:
            for task in (stopped, failed, ended):
                task.cancel()


async def _ended(exchange: Exchange, announce: Callable[[str], None]) -> None:
    await exchange.finished.wait()
    event = {"event": "finished", "frames": exchange.truth.frames_written, "faults": dict(exchange.injector.injected)}
    announce(msgspec.json.encode(event).decode())
