"""POST /rl/kill of a recorder: the halt is on the disk before the answer, which says what else is to be done."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kflow.act.pulse import Pulse, read
from kflow.act.standing import KILL_FILE, Standing, StandingFile
from kflow.errors import ConfigError
from kflow.testing.living import Living
from kflow.testing.recording import TOKEN
from kflow.web.halt import halt

ADMITTED = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def living(session: Any) -> Living:
    """An armed actor on the recorder's data folder."""
    return Living(session.standing.folder.parent)


async def kill(serving: Any, said: str = "", **options: Any) -> Any:
    async with serving(**options) as http:
        return await http.post("/rl/kill", headers=ADMITTED, content=said)


async def test_it_halts_an_actor_that_runs(session: Any, serving: Any, living: Living) -> None:
    living.work()
    pulse = Pulse(living.vitals(), living.data)
    pulse.write(pulse.look())
    answer = await kill(
        serving, "the spread\n looks wrong", actor=lambda: read(living.data, enabled=True, clock=living.clock)
    )
    body = answer.json()
    assert (answer.status_code, body["status"], body["actor"]) == (202, "halted", "healthy")
    assert body["reason"] == "killed from the recorder: the spread looks wrong"
    assert "cancels what rests of its orders within about a second" in body["text"]
    # The actor reads it before its next order.
    now = living.standing.now().overall
    assert (now.standing, now.reason) == (Standing.HALTED, body["reason"])
    assert not living.actor.may_send("A")


async def test_of_a_dead_actor_it_says_what_it_cannot_do(session: Any, serving: Any, living: Living) -> None:
    living.work()
    pulse = Pulse(living.vitals(), living.data)
    pulse.write(pulse.look())
    living.clock.advance(60)
    answer = await kill(serving, actor=lambda: read(living.data, enabled=True, clock=living.clock))
    assert answer.status_code == 202
    assert "what rests of its orders stays: run kflow kill" in answer.json()["text"]
    assert living.standing.now().overall.standing is Standing.HALTED


async def test_without_an_actor_the_halt_waits_for_the_next(session: Any, serving: Any) -> None:
    answer = await kill(serving)
    assert (answer.status_code, answer.json()["actor"]) == (202, "disabled")
    assert "None runs here that could cancel orders" in answer.json()["text"]
    # As in the units that are shipped: users, and folders, of their own.
    assert "An actor with a data folder of its own was not halted" in answer.json()["text"]
    assert "kflow kill" in answer.json()["hint"]
    assert (session.standing.folder / KILL_FILE).read_text() == "killed from the recorder"


async def test_a_long_reason_is_cut_and_a_strange_one_is_harmless(session: Any, serving: Any) -> None:
    answer = await kill(serving, "<img src=x>" + "y" * 1000)
    assert answer.json()["reason"] == "killed from the recorder: <img src=x>" + "y" * 189
    assert answer.headers["content-type"] == "application/json"


async def test_where_it_cannot_be_written_it_says_so(serving: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    answer = await kill(serving, standing=StandingFile(tmp_path / "file" / "actor"))
    assert answer.status_code == 500
    assert "cannot be kept" in answer.json()["error"]
    assert answer.json()["hint"]


@contextmanager
def no_more_files() -> Iterator[None]:
    """As on a machine that is at its limit: what is open stays so, and nothing else can be opened."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)
    os.close(next_free := os.dup(0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (next_free, most[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, most)


def test_a_halt_that_was_not_written_is_not_shown_as_one(session: Any, living: Living) -> None:
    service = session.service()
    assert service.standing.now().overall.standing is Standing.ACTIVE
    with no_more_files(), pytest.raises(ConfigError):
        halt(service, "too late")
    assert living.actor.may_send("A")
    assert service.standing.now().overall.standing is Standing.ACTIVE
