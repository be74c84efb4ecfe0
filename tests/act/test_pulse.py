"""How an actor is judged, what its file says to others, and who is told."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from kflow.act.alerts import Alerts
from kflow.act.denials import Reason
from kflow.act.pulse import (
    EVERY_S,
    FILE,
    RECONCILED_S,
    STALE_S,
    STARTING_S,
    STUCK_S,
    TOLD,
    UNRESOLVED_S,
    Pulse,
    Reconciliation,
    read,
)
from kflow.act.standing import FOLDER
from kflow.clock import ManualClock
from kflow.testing.living import Living, settled


@pytest.fixture
def living(tmp_path: Path) -> Living:
    return Living(tmp_path)


def test_a_well_one_is_healthy(living: Living) -> None:
    living.work()
    beat = Pulse(living.vitals(), living.data).look()
    assert (beat.status, beat.problems, beat.standing) == ("healthy", {}, "active")
    assert (beat.run, beat.venue, beat.epoch, beat.pid) == (str(living.actor.run), "local", 3, os.getpid())
    assert (beat.waits, beat.markets, beat.connected, beat.lease_held) == (2, 2, True, True)
    assert set(beat.denied) == {str(reason) for reason in Reason}
    assert beat.latency_us == {"p50": None, "p99": None}


def halt(living: Living) -> None:
    living.standing.halt("a drill", living.us)


def lose_lease(living: Living) -> None:
    living.lost = "another actor has it"


def lose_feed(living: Living) -> None:
    living.connected = False


def fail_reconciliation(living: Living) -> None:
    living.reconciliation.failed = "no answer"


def forget_reconciliation(living: Living) -> None:
    living.work(RECONCILED_S + 1)


def hang(living: Living) -> None:
    living.clock.advance(STUCK_S + 1)


def lose_database(living: Living) -> None:
    living.records.connected, living.records.last_error = False, "the server closed the connection"


def refuse(living: Living) -> None:
    living.records.refused = 1


@pytest.mark.parametrize(
    ("harm", "key", "words"),
    [
        (halt, "halted", "halted: a drill"),
        (lose_lease, "lease", "the lease is lost: another actor has it"),
        (lose_feed, "feed", "no connection to the venue's feed"),
        (fail_reconciliation, "reconciliation", "could not be compared with the venue's: no answer"),
        (forget_reconciliation, "reconciliation", "not compared with the venue's for 151 s"),
        (hang, "loop", "no market was looked at for 11 s"),
        (lose_database, "records", "orders cannot be stored: the server closed the connection"),
        (refuse, "records", "orders cannot be stored"),
    ],
)
def test_what_makes_it_unhealthy(living: Living, harm: Callable[[Living], None], key: str, words: str) -> None:
    living.work()
    pulse = Pulse(living.vitals(), living.data)
    harm(living)
    beat = pulse.look()
    assert beat.status == "unhealthy"
    assert list(beat.problems) == [key]
    assert words in beat.problems[key]


def test_what_is_no_illness_is_told(living: Living) -> None:
    living.standing.reduce("too much was lost today", living.us)
    living.records.dropped = 4
    beat = Pulse(living.vitals(), living.data).look()
    assert beat.status == "healthy"
    assert beat.problems == {
        "reducing": "reducing: too much was lost today",
        "decisions": "4 decisions could not be written down",
    }


def test_a_halted_market_is_named(living: Living) -> None:
    living.standing.halt("an order is not ours", living.us, "B")
    beat = Pulse(living.vitals(), living.data).look()
    assert (beat.status, beat.halted_markets) == ("healthy", 1)
    assert beat.problems == {"markets": "B is halted: an order is not ours"}


async def test_an_order_that_nobody_knows_of(living: Living) -> None:
    pulse = Pulse(living.vitals(), living.data)
    await living.send()
    assert (pulse.look().status, pulse.last.unresolved, pulse.last.open_orders) == ("healthy", 1, 1)
    living.work(UNRESOLVED_S + 1)
    beat = pulse.look()
    assert (beat.status, beat.unresolved_s) == ("unhealthy", UNRESOLVED_S + 1)
    assert "it is not known for 6 s whether it is at the venue" in beat.problems["orders"]


def test_it_may_take_a_while_to_start(living: Living) -> None:
    living.connected = False
    living.reconciliation.us = None
    pulse = Pulse(living.vitals(), living.data)
    assert pulse.look().status == "not_initialized"
    living.work(STARTING_S + 1)
    assert pulse.look().status == "unhealthy"


def test_who_is_halted_does_not_start(living: Living) -> None:
    living.connected = False
    halt(living)
    assert Pulse(living.vitals(), living.data).look().status == "unhealthy"


def test_only_a_loop_that_stands_for_long_needs_a_new_start(living: Living) -> None:
    pulse = Pulse(living.vitals(), living.data)
    living.clock.advance(6 * STUCK_S + 1)
    pulse.look()
    assert not pulse.alive
    living.work()
    pulse.look()
    assert pulse.alive


def test_a_reconciliation_that_is_done_is_well_again() -> None:
    reconciliation = Reconciliation(failed="no answer")
    reconciliation.done(5, 2)
    assert reconciliation == Reconciliation(us=5, mismatches=2)


# The file.


async def beating(living: Living, seconds: int, alerts: Alerts | None = None) -> None:
    """One actor's life of so many seconds, which ends in order."""
    task = asyncio.create_task(Pulse(living.vitals(alerts), living.data).run())
    for _ in range(seconds):
        await settled()
        assert not task.done()
        living.work(EVERY_S)
    await settled()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_others_see_it_while_it_runs_and_nothing_after(living: Living) -> None:
    path = living.data / FOLDER / FILE
    task = asyncio.create_task(Pulse(living.vitals(), living.data).run())
    await settled()
    sign = read(living.data, enabled=True, clock=living.clock)
    assert (sign.status, sign.problems, sign.age_s) == ("healthy", (), 0)
    assert sign.beat is not None
    assert sign.beat.run == str(living.actor.run)
    assert path.stat().st_mode & 0o777 == 0o600
    halt(living)
    living.work(EVERY_S)
    await settled()
    assert read(living.data, enabled=True, clock=living.clock)[:2] == ("unhealthy", ("halted: a drill",))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(path.parent.glob("*pulse*")) == []
    assert read(living.data, enabled=True, clock=living.clock).status == "not_initialized"
    assert read(living.data, enabled=False, clock=living.clock).status == "disabled"


@pytest.mark.parametrize("enabled", [True, False])
async def test_one_that_died_is_unhealthy(living: Living, enabled: bool) -> None:
    task = asyncio.create_task(Pulse(living.vitals(), living.data).run())
    await settled()
    kept = (living.data / FOLDER / FILE).read_bytes()
    task.cancel()
    await settled()
    (living.data / FOLDER / FILE).write_bytes(kept)
    living.clock.advance(STALE_S)
    assert read(living.data, enabled=enabled, clock=living.clock).status == "healthy"
    living.clock.advance(1)
    sign = read(living.data, enabled=enabled, clock=living.clock)
    assert sign.status == "unhealthy"
    assert f"(process {os.getpid()}) gave no sign of life for 6 s" in sign.problems[0]
    assert sign.age_s == STALE_S + 1


@pytest.mark.parametrize(("found", "words"), [(b"{", "cannot be understood"), (b'{"us": "x"}', "cannot be understood")])
def test_a_file_that_is_none(tmp_path: Path, found: bytes, words: str) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / FILE).write_bytes(found)
    sign = read(tmp_path, enabled=True, clock=ManualClock())
    assert sign.status == "unhealthy"
    assert words in sign.problems[0]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / FILE).symlink_to("/etc/hostname")
    assert "cannot be read" in read(tmp_path, enabled=True, clock=ManualClock()).problems[0]


async def test_a_file_that_cannot_be_written_stops_nobody(living: Living, caplog: pytest.LogCaptureFixture) -> None:
    (living.data / FOLDER / FILE).mkdir()
    await beating(living, 3)
    assert len([r for r in caplog.records if "cannot be written" in r.getMessage()]) == 1


def test_a_look_takes_little(living: Living) -> None:
    for number in range(10_000):
        living.actor.tally.latency_us.append(number)
    pulse = Pulse(living.vitals(), living.data)
    began = time.perf_counter()
    for _ in range(20):
        pulse.look()
    assert (time.perf_counter() - began) / 20 < 0.01
    assert pulse.last.latency_us == {"p50": 5000, "p99": 9900}


# Who is told.


def test_every_problem_has_its_severity_in_the_docs() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "http.md").read_text(encoding="utf-8")
    rows = [row.split("|") for row in text.partition("| `key` |")[2].splitlines() if row.startswith("| `")]
    shown = {key: (row[2].strip(), row[3].strip()) for row in rows for key in re.findall(r"`(\w+)`", row[1])}
    after = {0.0: "at once", 2.0: "2 s", 5.0: "5 s"}
    assert shown == {key: (str(severity), after[patience_s]) for key, (severity, patience_s) in TOLD.items()}


async def told(living: Living, harm: Callable[[], None], mend: Callable[[], None], lasting: int) -> list[str]:
    alerts = Alerts(clock=living.clock, program=["/bin/true"])
    task = asyncio.create_task(Pulse(living.vitals(alerts), living.data).run())
    for step in range(lasting + 3):
        if step == 1:
            harm()
        if step == lasting + 1:
            mend()
        await settled()
        living.work(EVERY_S)
    await settled()
    task.cancel()
    (way,) = alerts._ways
    return [f"{message['status']} {message['key']}" for message in map(json.loads, way.waiting)]


async def test_a_halt_is_told_once_and_its_end_once(living: Living) -> None:
    found = await told(living, lambda: halt(living), lambda: void(living.standing.arm("again", living.us)), 5)
    assert found == ["raised halted", "recovered halted"]


async def test_a_short_reconnect_is_not_told(living: Living) -> None:
    assert await told(living, lambda: lose_feed(living), lambda: find_feed(living), 4) == []
    assert await told(living, lambda: lose_feed(living), lambda: find_feed(living), 7) == [
        "raised feed",
        "recovered feed",
    ]


def find_feed(living: Living) -> None:
    living.connected = True


def void(_: object) -> None:
    pass
