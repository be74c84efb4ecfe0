"""`kflow watch` and what is under it, against a recorder's real service."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from kflow.cli.follow import Follower, Mirror, Source
from kflow.cli.keys import actions
from kflow.clock import SystemClock
from kflow.errors import ConfigError, KflowError, UsageError
from kflow.testing.recording import FIRST, SECOND, TOKEN, HandDriven
from kflow.testing.terminal import Terminal
from kflow.web.access import Access


@pytest.fixture
def session(tmp_path: Path) -> HandDriven:
    session = HandDriven(tmp_path)
    session.start()
    return session


async def until(follower: Follower, true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await follower.news.wait()
            follower.news.clear()


class Following:
    """A follower that runs while the block does, impatient between its attempts."""

    def __init__(self, url: str, *markets: str, token: str | None = None) -> None:
        self.follower = Follower(Source(url=url, token=token), markets, clock=SystemClock())

    async def __aenter__(self) -> Follower:
        self.task = asyncio.create_task(self.follower.run())
        return self.follower

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kflow.cli.follow.POLL_S", 0.05)
    monkeypatch.setattr("kflow.cli.follow.RETRY_S", 0.05)


async def test_a_follower_has_the_books_that_are(session: HandDriven) -> None:
    async with session.served() as served, Following(served.url) as follower:
        await until(follower, lambda: len(follower.glance().books) == 2)
        session.receive(session.delta("0.4400", "7.00"), session.delta("0.4300", "-50.00"))
        await until(follower, lambda: follower.glance().books[0].version == 3)
        assert follower.glance().books == (session.books.view(FIRST), session.books.view(SECOND))
        status = follower.glance().status
        assert status is not None
        assert status["session"]["number"] == 7


async def test_markets_can_be_chosen(session: HandDriven) -> None:
    async with session.served() as served, Following(served.url, SECOND) as follower:
        await until(follower, lambda: bool(follower.glance().books))
        assert [book.market for book in follower.glance().books] == [SECOND]


async def test_a_person_turns_from_market_to_market(session: HandDriven) -> None:
    async with session.served() as served, Following(served.url) as follower:
        follower.show(1)
        await until(follower, lambda: [book.market for book in follower.glance().books] == [FIRST])
        follower.turn(1)
        await until(follower, lambda: [book.market for book in follower.glance().books] == [SECOND])
        follower.turn(1)
        await until(follower, lambda: [book.market for book in follower.glance().books] == [FIRST])
        follower.turn(-1)
        follower.show(2)
        await until(follower, lambda: [book.market for book in follower.glance().books] == [SECOND, FIRST])


async def test_trades_and_the_state_of_all_are_followed(session: HandDriven) -> None:
    async with session.served() as served, Following(served.url) as follower:
        await until(follower, lambda: follower.glance().state is not None)
        session.receive(session.trade("0.4600", "3.00"))
        await until(follower, lambda: bool(follower.glance().trades))
        state, trades = follower.glance().state, follower.glance().trades
        assert state is not None
        assert [row[0] for row in state["markets"]] == [FIRST, SECOND]
        assert [trade[1:] for trade in trades] == [[4600, 300, "yes"]]


def test_keys_are_what_terminals_send_for_them() -> None:
    assert list(actions(b"\x1b[C\x1b[D\x1bOC\t\x1b[Z?np")) == [
        "next", "before", "next", "next", "before", "help", "next", "before",
    ]  # fmt: skip
    assert list(actions(b"xyz \x1b[5~")) == []


async def test_a_recorder_that_restarts_is_found_again(session: HandDriven, tmp_path: Path) -> None:
    async with session.served() as served:
        url, port = served.url, served.port
        following = Following(url)
        follower = await following.__aenter__()
        await until(follower, lambda: len(follower.glance().books) == 2)
    await until(follower, lambda: bool(follower.glance().trouble) and not follower.glance().books[0].live)
    assert follower.glance().age_s is not None
    other = HandDriven(tmp_path / "other")
    other.start()
    other.receive(other.delta("0.4400", "1.00"))
    async with other.served(port=port):
        await until(follower, lambda: not follower.glance().trouble and follower.glance().books[0].version == 2)
        assert follower.glance().books[0].live
        await following.__aexit__()


async def test_who_waits_for_a_recorder_is_told_why(session: HandDriven) -> None:
    async with session.served() as served:
        url = served.url
    async with Following(url) as follower:
        await until(follower, lambda: bool(follower.glance().trouble))
        assert follower.glance().status is None
        assert follower.glance().trouble.startswith(f"no recorder answers at {url}")


async def raised_by(following: Following) -> KflowError:
    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.timeout(10):
            await following.follower.run()
    [error] = caught.value.exceptions
    assert isinstance(error, KflowError)
    return error


async def test_a_market_that_is_not_recorded_is_said(session: HandDriven) -> None:
    async with session.served() as served:
        error = await raised_by(Following(served.url, "NOPE"))
    assert isinstance(error, UsageError)
    assert "NOPE is not recorded here" in str(error)
    assert FIRST in error.hint


async def test_a_guarded_recorder_wants_its_token(session: HandDriven) -> None:
    guarded = Access.for_host("0.0.0.0", TOKEN)
    async with session.served(access=guarded) as served:
        error = await raised_by(Following(served.url))
        assert isinstance(error, ConfigError)
        assert "--token-file" in error.hint
        async with Following(served.url, token=TOKEN) as follower:
            await until(follower, lambda: len(follower.glance().books) == 2)
    assert TOKEN not in repr(Source(url=served.url, token=TOKEN))


@pytest.mark.parametrize("url", ["127.0.0.1:8001", "ftp://127.0.0.1", "http://", "http://h/?x=1", "http://h/#x"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(UsageError, match="is not of the form"):
        Source(url=url)


def test_stream_addresses() -> None:
    assert Source(url="http://h:1").stream_url(["A&B"]) == "ws://h:1/rl/ws?market=A%26B&with=trades&with=state"
    assert Source(url="https://h/kflow").stream_url([]) == "wss://h/kflow/rl/ws?with=trades&with=state"


def test_what_a_mirror_does_not_know_changes_nothing() -> None:
    mirror = Mirror()
    for kind in ("delta", "heartbeat", "hello", "something-new"):
        mirror.take({"type": kind, "market": "M"})
    assert mirror.views(["M"], live=True) == ()


# --- the command, as a process of its own


async def kflow(*words: str, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "kflow", *words),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
    )


async def ended(process: asyncio.subprocess.Process) -> tuple[int, str, str]:
    async with asyncio.timeout(20):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_once_as_json(session: HandDriven) -> None:
    async with session.served() as served:
        code, out, err = await ended(await kflow("watch", "--url", served.url, "--once", "--json", "--market", SECOND))
    assert (code, err) == (0, "")
    body = json.loads(out)
    assert body["schema_version"] == 1
    assert body["status"]["status"] == "healthy"
    [book] = body["books"]
    assert (book["market"], book["yes_bids"][0]["price_dollars"]) == (SECOND, "0.4400")


async def test_once_for_people(session: HandDriven) -> None:
    async with session.served() as served:
        code, out, _ = await ended(await kflow("watch", "--url", served.url, "--once"))
    assert code == 0
    assert FIRST in out
    assert "0.4600" in out
    assert "\x1b" not in out


async def test_a_line_a_second_where_there_is_no_terminal(session: HandDriven) -> None:
    async with session.served() as served:
        process = await kflow("watch", "--url", served.url)
        assert process.stdout is not None
        async with asyncio.timeout(20):
            while FIRST not in (text := (await process.stdout.readline()).decode()):
                assert text
        process.send_signal(signal.SIGINT)
        code, _, err = await ended(process)
    assert (code, err) == (0, "")
    assert text.startswith("healthy  messages=2")


async def test_a_json_object_a_second(session: HandDriven) -> None:
    async with session.served() as served:
        process = await kflow("watch", "--url", served.url, "--json")
        assert process.stdout is not None
        async with asyncio.timeout(20):
            first = json.loads(await process.stdout.readline())
        process.terminate()
        assert (await ended(process))[0] == 0
    assert first["status"]["messages"]["total"] == 2


@pytest.mark.parametrize(("market", "code"), [("NOPE", 2), (FIRST, 5)])
async def test_failures_are_sentences(session: HandDriven, market: str, code: int) -> None:
    async with session.served() as served:
        if code == 2:
            done = await ended(await kflow("watch", "--url", served.url, "--market", market))
    if code == 5:
        done = await ended(await kflow("watch", "--url", served.url, "--once"))
    assert done[0] == code
    assert done[2].startswith("error: ")
    assert "hint: " in done[2]
    assert "Traceback" not in done[2]


@pytest.mark.parametrize("colour", [True, False])
async def test_on_a_terminal_it_draws_until_q(session: HandDriven, colour: bool) -> None:
    async with session.served() as served, Terminal() as terminal:
        terminal.run("watch", "--url", served.url, environment={} if colour else {"NO_COLOR": "1"})
        terminal.read()
        await terminal.until("0.4400", "0.4600", "q quits", FIRST)
        terminal.type(b"?\x1b[C")
        await terminal.until("quit  ", f"▸{SECOND}")
        terminal.type(b"q")
        assert await terminal.ended() == 0
    assert ("\x1b[32m" in terminal.seen) is colour
    assert terminal.seen.rstrip().endswith("\x1b[?25h\x1b[?1049l")  # cursor and screen are as they were
