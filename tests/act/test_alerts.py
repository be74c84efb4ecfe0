"""Alerts that really go out: to an HTTP server on loopback, and to a script."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kflow.act.alerts import TRIES, Alerts, Severity
from kflow.clock import ManualClock

SECRET = "s3cret-canary"


class Hook:
    """An HTTP server that answers each request with the next status, then with 200; None: it does not answer."""

    def __init__(self, *statuses: int | None) -> None:
        self.got: list[dict[str, Any]] = []
        self.asked = 0
        self.url = ""
        self._statuses = list(statuses)
        self._over = threading.Event()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers["content-length"]))
        self.asked += 1
        status = self._statuses.pop(0) if self._statuses else 200
        if status is None:
            self._over.wait()
            return
        if status == 200:
            self.got.append(json.loads(body))
        request.send_response(status)
        request.send_header("location", "/elsewhere")
        request.end_headers()

    @contextmanager
    def served(self) -> Iterator[None]:
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hook.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            self.url = f"http://127.0.0.1:{server.server_port}/{SECRET}"
            thread = threading.Thread(target=server.serve_forever, args=[0.01])
            thread.start()
            try:
                yield
            finally:
                self._over.set()
                server.shutdown()
                thread.join()


class Clock(ManualClock):
    """Sleeps over at once, and remembers for how long."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)
        await asyncio.sleep(0)


@asynccontextmanager
async def running(alerts: Alerts) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """With delivery; what it yields waits until all is delivered or given up."""
    task = asyncio.create_task(alerts.run())
    try:
        yield alerts.drained
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def test_what_lasts_is_told_once_and_its_end_once(clock: Clock) -> None:
    hook = Hook()
    with hook.served():
        alerts = Alerts(clock=clock, webhook=hook.url, about={"venue": "local", "run": "r"})
        async with running(alerts) as drained:
            assert alerts.tell(Severity.WARNING, "feed", "no connection for 3 s")
            for _ in range(50):
                assert not alerts.tell(Severity.WARNING, "feed", "no connection for 4 s")
            assert alerts.tell(Severity.CRITICAL, "halted", "daily loss")
            assert alerts.recovered("feed", "connected")
            assert not alerts.recovered("feed")
            assert not alerts.recovered("never told")
            await drained()
    assert [(m["key"], m["status"], m["severity"], m["text"]) for m in hook.got] == [
        ("feed", "raised", "warning", "no connection for 3 s"),
        ("halted", "raised", "critical", "daily loss"),
        ("feed", "recovered", "info", "connected"),
    ]
    assert {(m["venue"], m["run"], m["at_ms"]) for m in hook.got} == {("local", "r", 1_700_000_000_000)}
    assert (alerts.counts.told, alerts.counts.repeated, alerts.counts.delivered) == (3, 50, 3)
    assert alerts.lasting == {"halted": Severity.CRITICAL}


async def test_it_is_told_again_where_it_gets_worse_or_comes_back(clock: Clock) -> None:
    hook = Hook()
    with hook.served():
        alerts = Alerts(clock=clock, webhook=hook.url)
        async with running(alerts) as drained:
            alerts.tell(Severity.WARNING, "loss", "half of it")
            alerts.tell(Severity.CRITICAL, "loss", "all of it")
            alerts.tell(Severity.WARNING, "loss", "less")
            alerts.recovered("loss")
            alerts.tell(Severity.WARNING, "loss", "anew")
            alerts.once(Severity.INFO, "started", "once")
            alerts.once(Severity.INFO, "started", "twice")
            await drained()
    assert [m["text"] for m in hook.got] == ["half of it", "all of it", "well again", "anew", "once", "twice"]


async def test_a_hook_that_fails_is_asked_a_few_times(clock: Clock) -> None:
    hook = Hook(500, 302)
    with hook.served():
        alerts = Alerts(clock=clock, webhook=hook.url)
        async with running(alerts) as drained:
            alerts.tell(Severity.WARNING, "a", "one")
            await drained()
    assert (hook.asked, len(hook.got), clock.slept) == (TRIES, 1, [1.0, 5.0])
    assert (alerts.counts.delivered, alerts.counts.failed) == (1, 0)


async def test_what_is_given_up_is_counted_and_told_without_the_address(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    hook = Hook(*[503] * TRIES)
    with hook.served():
        alerts = Alerts(clock=clock, webhook=hook.url)
        async with running(alerts) as drained:
            alerts.tell(Severity.WARNING, "a", "one")
            alerts.tell(Severity.WARNING, "b", "two")
            await drained()
    assert [m["text"] for m in hook.got] == ["two"]
    assert (alerts.counts.failed, alerts.counts.last_error) == (1, "webhook: it answered 503")
    ours = [record for record in caplog.records if record.name.startswith("kflow")]
    assert any("after 3 tries: it answered 503" in record.getMessage() for record in ours)
    assert SECRET not in caplog.text


async def test_nobody_there_is_no_failure_of_ours(clock: Clock) -> None:
    hook = Hook()
    with hook.served():
        pass
    alerts = Alerts(clock=clock, webhook=hook.url)
    async with running(alerts) as drained:
        alerts.tell(Severity.WARNING, "a", "one")
        await drained()
    assert (alerts.counts.failed, alerts.counts.last_error) == (1, "webhook: ConnectError")


async def test_a_hook_that_does_not_answer_holds_nobody_up(clock: Clock, tmp_path: Path) -> None:
    said = tmp_path / "said"
    hook = Hook(*[None] * TRIES)
    with hook.served():
        keep = ["/bin/sh", "-c", 'cat > "$1"', "hook", str(said)]
        alerts = Alerts(clock=clock, webhook=hook.url, program=keep, timeout_s=0.6)
        async with running(alerts) as drained:
            alerts.tell(Severity.WARNING, "a", "one")
            await drained()
    assert json.loads(said.read_text())["text"] == "one"
    assert (alerts.counts.delivered, alerts.counts.failed) == (1, 1)
    assert alerts.counts.last_error == "webhook: ReadTimeout"


async def test_no_more_wait_than_there_is_room_for(clock: Clock) -> None:
    hook = Hook()
    with hook.served():
        alerts = Alerts(clock=clock, webhook=hook.url)
        for number in range(150):
            alerts.tell(Severity.WARNING, f"{number}", "x")
        assert alerts.counts.dropped == 50
        async with running(alerts) as drained:
            await drained()
    assert len(hook.got) == 100


# A program.

SAY = "import sys, os, json; m = json.load(sys.stdin); open(sys.argv[1], 'a').write(m['text'] + '\\n')"
ENVIRON = "import sys, os, json; open(sys.argv[1], 'w').write(json.dumps(dict(os.environ)))"
FAIL = "import sys; sys.stdin.read(); open(sys.argv[1], 'a').write('x'); sys.exit(3)"
HANG = 'sleep 600 & echo $! >> "$1"; wait'


def script(folder: Path, source: str, *arguments: object) -> list[str]:
    path = folder / "hook with a space; $(touch pwned).py"
    path.write_text(source)
    return [sys.executable, str(path), *map(str, arguments)]


async def test_a_program_is_given_the_alert_on_stdin(clock: Clock, tmp_path: Path) -> None:
    said = tmp_path / "said"
    alerts = Alerts(clock=clock, program=script(tmp_path, SAY, said))
    async with running(alerts) as drained:
        alerts.tell(Severity.CRITICAL, "k", "$(touch pwned) `x` ünï")
        alerts.recovered("k", "over")
        await drained()
    assert said.read_text() == "$(touch pwned) `x` ünï\nover\n"
    assert not (tmp_path / "pwned").exists()
    assert alerts.counts.delivered == 2


async def test_a_program_sees_no_secret(clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "KALSHI_API_KEY_ID", "KFLOW__DATABASE__URL", "SOME_TOKEN"):
        monkeypatch.setenv(name, SECRET)
    said = tmp_path / "said"
    alerts = Alerts(clock=clock, program=script(tmp_path, ENVIRON, said))
    async with running(alerts) as drained:
        alerts.tell(Severity.CRITICAL, "k", "x")
        await drained()
    seen = json.loads(said.read_text())
    assert SECRET not in seen.values()
    assert seen["PATH"] == os.environ["PATH"]


async def test_a_program_that_fails_is_run_a_few_times(clock: Clock, tmp_path: Path) -> None:
    said = tmp_path / "said"
    alerts = Alerts(clock=clock, program=script(tmp_path, FAIL, said))
    async with running(alerts) as drained:
        alerts.tell(Severity.CRITICAL, "k", "x")
        await drained()
    assert said.read_text() == "x" * TRIES
    assert (alerts.counts.failed, alerts.counts.last_error) == (1, f"program: {sys.executable} ended with 3")


async def test_a_program_that_hangs_is_ended_with_its_children(clock: Clock, tmp_path: Path) -> None:
    said = tmp_path / "said"
    # A shell, since it is there at once.
    alerts = Alerts(clock=clock, program=["/bin/sh", "-c", HANG, "hook", str(said)], timeout_s=0.6)
    async with running(alerts) as drained:
        alerts.tell(Severity.CRITICAL, "k", "x")
        await drained()
    assert "did not end within 0.6 s" in alerts.counts.last_error
    children = [int(pid) for pid in said.read_text().split()]
    assert len(children) == TRIES
    for pid in children:
        while not gone(pid):
            pass


def gone(pid: int) -> bool:
    """Whether a process has ended; who adopted it may not have looked yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


async def test_no_program_is_no_failure_of_ours(clock: Clock, tmp_path: Path) -> None:
    alerts = Alerts(clock=clock, program=[str(tmp_path / "none")])
    async with running(alerts) as drained:
        alerts.tell(Severity.CRITICAL, "k", "x")
        await drained()
    assert "cannot be started: No such file" in alerts.counts.last_error


async def test_without_a_way_alerts_are_in_the_log(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    alerts = Alerts(clock=clock)
    async with running(alerts) as drained:
        alerts.tell(Severity.CRITICAL, "halted", "daily loss")
        await drained()
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [("ERROR", "halted: daily loss")]
