"""kflow kill: from the command line to the exchange, with and without an actor, a key, a database."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from kflow.act.kill import Groups
from kflow.act.standing import KILL_FILE, Standing, StandingFile
from kflow.clock import SystemClock
from kflow.testing.postgres import Database
from kflow.testing.trader import Trader
from kflow.testing.venue import LocalVenueProcess
from tests.cli.conftest import Kflow, keyed, refused


def ask(venue: LocalVenueProcess, what: Callable[[Trader], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with httpx.AsyncClient() as http:
            return await what(Trader(venue.rest, venue.key, http, SystemClock()))

    return asyncio.run(run())


@pytest.fixture
def ticker(venue: LocalVenueProcess) -> str:
    found: str = ask(venue, lambda trader: trader.get("/markets"))["markets"][0]["ticker"]
    return found


@pytest.fixture
def actor(tmp_path: Path) -> Path:
    """The folder of an actor that ran."""
    folder = tmp_path / "data" / "actor"
    StandingFile(folder).arm("test", 1)
    (folder / "lock").touch()
    return folder


def place(venue: LocalVenueProcess, ticker: str, mine: str, group: str | None = None) -> str:
    more = {"ticker": ticker, "client_order_id": mine, "order_group_id": group}
    order_id: str = ask(venue, lambda trader: trader.order("bid", "0.0100", "1.00", **more))["order_id"]
    return order_id


def group_of(venue: LocalVenueProcess) -> str:
    body = {"contracts_limit": 1000}
    made = ask(venue, lambda trader: trader.send("POST", "/portfolio/order_groups/create", body))
    name: str = made.json()["order_group_id"]
    return name


def resting(venue: LocalVenueProcess) -> set[str]:
    orders = ask(venue, lambda trader: trader.get("/portfolio/orders", status="resting"))["orders"]
    return {order["order_id"] for order in orders}


def written_down(database: Database, ticker: str, mine: str, status: str, venue_id: str | None = None) -> None:
    with database.connect(autocommit=True) as conn:
        conn.execute("INSERT INTO rl_markets (ticker, updated_ns) VALUES (%s, 1) ON CONFLICT DO NOTHING", [ticker])
        conn.execute(
            "INSERT INTO rl_orders (client_order_id, venue, venue_order_id, market_id, side, direction, size_e2,"
            " status, created_ns, updated_ns) SELECT %s, 'local', %s, id, 0, 0, 100, %s, 1, 1 FROM rl_markets"
            " WHERE ticker = %s",
            [mine, venue_id, status, ticker],
        )


def test_where_no_actor_ran_it_says_so_and_halts(kflow: Kflow, tmp_path: Path) -> None:
    done = kflow("kill", "--reason", "just in case")
    assert (done.code, done.out.startswith("local: halted, flat")) == (0, True)
    assert "no actor ever ran" in done.err
    standing = StandingFile(tmp_path / "data" / "actor")
    assert (standing.of("M").standing, standing.of("M").reason) == (Standing.HALTED, "just in case")
    assert "no actor ever ran" in kflow("kill").err  # that it was killed is no run


def test_orders_of_ours_go_and_those_of_others_stay(
    kflow: Kflow, venue: LocalVenueProcess, ticker: str, database: Database, actor: Path
) -> None:
    before = resting(venue)
    group, ours = group_of(venue), [str(uuid.uuid4()) for _ in range(3)]
    Groups(actor).add("local", f"0:{group}", 1)
    place(venue, ticker, ours[0], group)
    place(venue, ticker, ours[1])
    place(venue, ticker, ours[2])
    written_down(database, ticker, ours[1], "resting")
    written_down(database, ticker, ours[2], "sent")
    others = place(venue, ticker, str(uuid.uuid4()))
    done = kflow("kill", "--json", DATABASE_URL=database.dsn, **keyed(venue))
    assert done.code == 0, done
    report = done.json
    assert (report["flat"], report["halted"], report["triggered"]) == (True, True, [f"0:{group}"])
    assert len(report["cancelled"]) == 2
    assert resting(venue) - before == {others}
    assert (actor / KILL_FILE).read_text() == "kflow kill"


def test_everything_has_to_be_confirmed_but_the_halt_does_not_wait(
    kflow: Kflow, venue: LocalVenueProcess, ticker: str, actor: Path
) -> None:
    place(venue, ticker, str(uuid.uuid4()))
    done = kflow("kill", "--everything", **keyed(venue))
    refused(done, 2, "nobody can be asked here", "--yes")
    assert (actor / KILL_FILE).exists()
    assert resting(venue)
    assert kflow("kill", "--everything", "--yes", **keyed(venue)).code == 0
    assert resting(venue) == set()


def test_nobody_there_ends_with_5_and_names_what_may_be_left(
    kflow: Kflow, venue: LocalVenueProcess, database: Database, actor: Path
) -> None:
    written_down(database, "M", str(uuid.uuid4()), "resting", "the-order")
    there = {**keyed(venue), "KFLOW__KALSHI__EXCHANGE": "http://127.0.0.1:1", "DATABASE_URL": database.dsn}
    done = kflow("kill", "--deadline", "0.2", **there)
    assert done.code == 5
    assert "NOT verified flat" in done.out
    assert "the-order" in done.out
    assert "error: not verified flat at local" in done.err
    assert (actor / KILL_FILE).exists()


def test_without_a_key_it_halts_and_says_what_to_do(kflow: Kflow, actor: Path) -> None:
    Groups(actor).add("local", "0:a", 1)
    done = kflow("kill", "--exchange", "http://127.0.0.1:1")
    refused(done, 3, "the actor is halted; without a key", "actor.key_id")
    assert (actor / KILL_FILE).exists()


def test_an_actor_that_never_left_paper_needs_no_key(kflow: Kflow, actor: Path) -> None:
    assert kflow("kill").code == 0
    assert (actor / KILL_FILE).exists()


def test_a_halt_that_cannot_be_written_is_no_success_and_hinders_nothing(
    kflow: Kflow, venue: LocalVenueProcess, ticker: str, tmp_path: Path
) -> None:
    place(venue, ticker, str(uuid.uuid4()))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "actor").touch()
    done = kflow("kill", "--everything", "--yes", **keyed(venue))
    assert done.code == 3
    assert "the halt could NOT be written, flat" in done.out
    assert "an actor that runs may place orders again" in done.err
    assert resting(venue) == set()


@pytest.mark.parametrize("missing", ["database", "schema"])
def test_a_database_without_orders_is_no_failure(
    kflow: Kflow, venue: LocalVenueProcess, empty_database: Database, actor: Path, missing: str
) -> None:
    dsn = empty_database.dsn if missing == "schema" else "postgresql://127.0.0.1:1/nothing"
    done = kflow("kill", "--everything", "--yes", DATABASE_URL=dsn, **keyed(venue))
    assert done.code == 0, done
    assert ("our orders cannot be read" in done.err) == (missing == "database")
