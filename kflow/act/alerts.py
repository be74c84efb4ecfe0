"""Telling people: by a webhook, and by a program of theirs. What lasts is told once, and once more when it is over.

Trading waits for neither. Each has a queue of its own, bounded; what is not delivered is counted and in the log. The
webhook's address may be a secret, so no message quotes it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import httpx

from kflow.clock import NS_PER_S, Clock

_log = logging.getLogger(__name__)
# They print addresses.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)
TIMEOUT_S: Final = 5.0  # of one try
TRIES: Final = 3
_PAUSES_S: Final = (1.0, 5.0)  # between them
_MOST_WAITING: Final = 100  # of each way
_MOST_LASTING: Final = 1000
_MOST_TEXT: Final = 2000
# All that a program is given of our environment: enough to be found and to write, and no secret.
_ENVIRONMENT: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER")


class Severity(StrEnum):
    """How soon a person should look."""

    INFO = "info"  # not at all
    WARNING = "warning"  # today
    CRITICAL = "critical"  # now


_RANK: Final = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}
_LEVEL: Final = {Severity.INFO: logging.INFO, Severity.WARNING: logging.WARNING, Severity.CRITICAL: logging.ERROR}

Way = Callable[[bytes], Awaitable[str]]  # "" or why it was not delivered


@dataclass(slots=True)
class AlertCounts:
    """For watching."""

    told: int = 0  # alerts, and ends of alerts
    repeated: int = 0  # left out, since the same was told and lasts
    delivered: int = 0  # by each way once
    failed: int = 0  # given up
    dropped: int = 0  # there was no room for them
    last_error: str = ""


class Alerts:
    """What is wrong now, and who is told. Used on one event loop; `run` delivers."""

    def __init__(
        self,
        *,
        clock: Clock,
        webhook: str | None = None,
        program: Sequence[str] = (),
        about: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """`webhook`: URL that is posted JSON; `program`: its path and arguments, which gets it on stdin.

        `about` goes into every message: the venue, the run.
        """
        self.counts: Final = AlertCounts()
        self.lasting: Final[dict[str, Severity]] = {}
        self._clock, self._about, self._timeout_s = clock, dict(about or {}), timeout_s
        self._ways: list[_Queue] = []
        self._client: httpx.AsyncClient | None = None
        if webhook is not None:
            # No redirects, and no proxy of the environment: nobody else is told.
            self._client = httpx.AsyncClient(timeout=timeout_s, trust_env=False, follow_redirects=False)
            self._ways.append(_Queue("webhook", _posting(self._client, webhook)))
        if program:
            self._ways.append(_Queue("program", _running(tuple(program), timeout_s)))

    def tell(self, severity: Severity, key: str, text: str) -> bool:
        """Something is wrong. Told once while it lasts (`key` names it), and again where it gets worse."""
        before = self.lasting.get(key)
        if before is not None and _RANK[before] >= _RANK[severity]:
            self.counts.repeated += 1
            return False
        if before is None and len(self.lasting) >= _MOST_LASTING:
            self._drop(f"{_MOST_LASTING} alerts last already")
            return False
        self.lasting[key] = severity
        self._send(severity, key, "raised", text)
        return True

    def recovered(self, key: str, text: str = "") -> bool:
        """It is well again. Told once, and only where it was told that it was not."""
        severity = self.lasting.pop(key, None)
        if severity is None:
            return False
        self._send(Severity.INFO, key, "recovered", text or "well again")
        return True

    def once(self, severity: Severity, key: str, text: str) -> None:
        """Something that happened, and does not last."""
        self._send(severity, key, "happened", text)

    async def run(self) -> None:
        """Deliver, until cancelled; wait for `drained` before that."""
        try:
            async with asyncio.TaskGroup() as group:
                for way in self._ways:
                    group.create_task(self._deliver(way))
                if not self._ways:
                    await asyncio.Event().wait()
        finally:
            if self._client is not None:
                await self._client.aclose()

    async def drained(self) -> None:
        """Wait until nothing waits any more, delivered or given up: before an end."""
        for way in self._ways:
            await way.idle.wait()

    # How.

    def _send(self, severity: Severity, key: str, status: str, text: str) -> None:
        _log.log(_LEVEL[severity], "%s: %s", key, text)
        self.counts.told += 1
        message = {
            "service": "kalshiflow_rl_actor",
            "severity": str(severity),
            "status": status,
            "key": key,
            "text": text[:_MOST_TEXT],
            "at_ms": self._clock.wall_ns() * 1000 // NS_PER_S,
            "host": socket.gethostname(),
            **self._about,
        }
        body = json.dumps(message).encode()
        for way in self._ways:
            if len(way.waiting) >= _MOST_WAITING:
                self._drop(f"{_MOST_WAITING} wait for the {way.name} already")
                continue
            way.put(body)

    def _drop(self, why: str) -> None:
        self.counts.dropped += 1
        self.counts.last_error = why
        _log.error("an alert is not sent: %s", why)

    async def _deliver(self, way: _Queue) -> None:
        while True:
            body = await way.first()
            error = ""
            for attempt in range(TRIES):
                if attempt:
                    await self._clock.sleep(_PAUSES_S[attempt - 1])
                error = await way.send(body)
                if not error:
                    break
                self.counts.last_error = f"{way.name}: {error}"
            if error:
                self.counts.failed += 1
                _log.error("an alert was not delivered by %s, after %d tries: %s", way.name, TRIES, error)
            else:
                self.counts.delivered += 1
            way.done()


@dataclass(slots=True)
class _Queue:
    """Messages of one way, the first of which is being sent."""

    name: str
    send: Way
    waiting: deque[bytes] = field(default_factory=deque)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.idle.set()

    def put(self, body: bytes) -> None:
        self.waiting.append(body)
        self.idle.clear()
        self.news.set()

    async def first(self) -> bytes:
        await self.news.wait()
        return self.waiting[0]

    def done(self) -> None:
        self.waiting.popleft()
        if not self.waiting:
            self.news.clear()
            self.idle.set()


def _posting(client: httpx.AsyncClient, url: str) -> Way:
    async def post(body: bytes) -> str:
        try:
            # The head is enough: what it answers is of no interest, however long it is.
            async with client.stream("POST", url, content=body, headers={"content-type": "application/json"}) as answer:
                return "" if answer.is_success else f"it answered {answer.status_code}"
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            return type(error).__name__  # its text may hold the address

    return post


def _running(program: tuple[str, ...], timeout_s: float) -> Way:
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}

    async def run(body: bytes) -> str:
        quiet: dict[str, Any] = {"stdout": asyncio.subprocess.DEVNULL, "stderr": asyncio.subprocess.DEVNULL}
        try:
            process = await asyncio.create_subprocess_exec(
                *program, stdin=asyncio.subprocess.PIPE, env=environment, start_new_session=True, **quiet
            )
        except OSError as error:
            return f"{program[0]} cannot be started: {error.strerror}"
        try:
            await asyncio.wait_for(process.communicate(body), timeout_s)
        except TimeoutError:
            return f"{program[0]} did not end within {timeout_s:g} s"
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # with all that it started
                await process.wait()
        return "" if process.returncode == 0 else f"{program[0]} ended with {process.returncode}"

    return run
