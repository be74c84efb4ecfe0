"""Services under a service manager: ready when they are, fed by what they are for, and never by a clock."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import replace
from pathlib import Path

from kflow.clock import SystemClock
from kflow.ingest import supervised
from kflow.kalshi.feed import Feed
from kflow.supervisor import Supervisor
from kflow.testing.manager import Manager
from kflow.testing.postgres import Database
from kflow.testing.process import Shell
from kflow.testing.recording import HandDriven
from kflow.testing.venue import LocalVenue, LocalVenueProcess
from tests.cli.conftest import keyed
from tests.kalshi.test_feed import Listener

# A policy that stops the whole loop, but no other thread, once a file says so.
STALLS = """
import pathlib, time
from kflow.policy.actions import action_set

class Stalls:
    name = "stalls"
    actions = action_set("default", (10, 20))
    def decide(self, observation, mask):
        while pathlib.Path("stall").exists():
            time.sleep(0.05)
        return 0
"""


def test_ingest_is_ready_with_its_first_books_and_says_how_it_ends(recorder: Shell, tmp_path: Path) -> None:
    with Manager(tmp_path / "notify") as manager, recorder.start("ingest", **manager.environ) as ingest:
        ingest.wait_for("/rl/health")
        manager.wait_for("READY=1")
        assert "STATUS=starting the database, then asking the venue" in manager.said
        assert any(said.startswith("EXTEND_TIMEOUT_USEC=") for said in manager.said)
        assert "books live" in manager.wait_for("STATUS=session 1: 3 of 3")
        manager.wait_for("WATCHDOG=1", within_s=5)
        ingest.signal(signal.SIGTERM)
        manager.wait_for("STOPPING=1")
        assert ingest.end().code == 0
        assert "READY=1" not in manager.waiting()


def test_a_venue_that_is_away_is_no_reason_for_a_new_start(tmp_path: Path, database: Database) -> None:
    with LocalVenueProcess("--synthetic", "busy", "--markets", "3", "--rate", "200") as venue:
        shell = Shell(tmp_path, {**keyed(venue), "DATABASE_URL": database.dsn, "KFLOW__WEB__PORT": "0"})
        with Manager(tmp_path / "notify") as manager, shell.start("ingest", **manager.environ) as ingest:
            manager.wait_for("READY=1")
            venue.stop()
            manager.wait_for("STATUS=no connection to the venue")
            manager.waiting()
            for _ in range(3):  # while it waits between attempts, too
                manager.wait_for("WATCHDOG=1", within_s=5)
            ingest.signal(signal.SIGTERM)
            assert ingest.end().code == 0


async def test_a_quiet_market_is_fed_and_a_loop_that_is_gone_is_not(tmp_path: Path) -> None:
    with Manager(tmp_path / "notify") as manager:
        async with LocalVenue() as venue:
            clock, listener = SystemClock(), Listener()
            feed = Feed(venue.ws, venue.key, listener, clock=clock)
            service = replace(HandDriven(tmp_path).service(), feed=feed.status, clock=clock)
            supervisor = Supervisor(manager.address)
            running = asyncio.create_task(feed.run())
            async with supervised(service, supervisor):
                await listener.live()
                manager.waiting()
                await asyncio.to_thread(manager.wait_for, "WATCHDOG=1", 5)
                running.cancel()  # the event loop goes on, the feed does not
                await asyncio.gather(running, return_exceptions=True)
                await asyncio.to_thread(manager.heard, 1.2)
                assert "WATCHDOG=1" not in await asyncio.to_thread(manager.heard, 2.5)
            assert manager.waiting()[0] == "STOPPING=1"
            supervisor.close()


def test_an_actor_is_ready_once_it_decides_and_one_whose_loop_stands_is_not_fed(
    tmp_path: Path, database: Database
) -> None:
    (tmp_path / "stalling.py").write_text(STALLS)
    shell = Shell(tmp_path, {"DATABASE_URL": database.dsn, "KFLOW__ACTOR__PORT": "0"})
    assert shell.run("actor", "arm", "--yes").code == 0
    words = ("actor", "run", "--enable", "--strategy", "stalling:Stalls", "--latency", "none")
    with Manager(tmp_path / "notify") as manager, shell.start(*words, **manager.environ) as actor:
        manager.wait_for("READY=1")
        manager.wait_for("WATCHDOG=1", within_s=5)
        (tmp_path / "stall").touch()
        manager.heard(1.2)
        assert manager.heard(2.5) == []
        (tmp_path / "stall").unlink()
        manager.wait_for("WATCHDOG=1", within_s=5)
        actor.signal(signal.SIGTERM)
        manager.wait_for("STOPPING=1")
        manager.wait_for("EXTEND_TIMEOUT_USEC=")
        assert actor.end().code == 0
