"""One actor only, on one host and on two: who lost the lease knows it at once, and can store no order more."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from kflow.act.lease import EVERY_S, TTL_S, HostLock, Lease, LeaseLost, stored
from kflow.clock import ManualClock
from kflow.errors import DatabaseError, InstanceLocked
from kflow.store.postgres import Connection, connect
from kflow.testing.postgres import Database

Actor = Callable[..., Lease]


class Clock(ManualClock):
    """Tells when a keeper pauses between two renewals."""

    def __init__(self) -> None:
        super().__init__()
        self._paused = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        if seconds == EVERY_S:
            self._paused.set()
        await super().sleep(seconds)

    async def paused(self) -> None:
        await self._paused.wait()
        self._paused.clear()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def actor(database: Database, clock: Clock) -> Iterator[Actor]:
    """Makes leases of one venue, each with a connection of its own, as the role that records have."""
    dsn, made = database.login("kflow_writer"), []
    numbers = itertools.count(1)

    def new(ttl_s: float = TTL_S) -> Lease:
        name = f"actor {next(numbers)}"
        made.append(
            Lease(lambda: connect(dsn, application_name=name, autocommit=True), "local", clock=clock, ttl_s=ttl_s)
        )
        return made[-1]

    yield new
    for lease in made:
        lease.release()


@pytest.fixture
def conn(database: Database) -> Iterator[Connection]:
    with database.connect(autocommit=True) as connection:
        connection.execute("INSERT INTO rl_markets (ticker, updated_ns) VALUES ('M', 1)")
        yield connection


def expire(conn: Connection) -> None:
    conn.execute("UPDATE rl_actor_leases SET expires_at = clock_timestamp()")


def store(conn: Connection, epoch: int | None, venue: str = "local") -> None:
    with stored():
        conn.execute(
            "INSERT INTO rl_orders (client_order_id, venue, market_id, side, direction, size_e2, status, created_ns,"
            " updated_ns, epoch) SELECT %s, %s, id, 0, 0, 100, 'stored', 1, 1, %s FROM rl_markets",
            [uuid4(), venue, epoch],
        )


def orders(conn: Connection) -> list[object]:
    return [row[0] for row in conn.execute("SELECT epoch FROM rl_orders ORDER BY id")]


# On one host.


def test_a_second_actor_of_a_folder_is_told_who_has_it(tmp_path: Path) -> None:
    folder = tmp_path / "actor"
    program = (
        "import sys; from pathlib import Path; from kflow.act.lease import HostLock;"
        f"lock = HostLock(Path({str(folder)!r})); print('ready', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        with pytest.raises(InstanceLocked, match=f"process {other.pid}$") as caught:
            HostLock(folder)
        assert caught.value.exit_code == 8
        other.kill()
    lock = HostLock(folder)  # however it died
    assert (folder / "lock").read_text() == f"{os.getpid()}\n"
    lock.release()


# On two.


def test_a_second_actor_gets_it_only_after_the_first(actor: Actor, conn: Connection) -> None:
    first, second = actor(), actor()
    assert first.acquire("host a") == 1
    with pytest.raises(InstanceLocked, match="another actor trades at local: host a"):
        second.acquire()
    expire(conn)
    assert second.acquire() == 2
    with pytest.raises(LeaseLost, match="another actor has it"):
        first.renew()
    assert not first.held
    second.renew()
    assert second.held


def test_what_is_given_back_is_free_at_once(actor: Actor) -> None:
    first, second = actor(), actor()
    first.acquire()
    first.release()
    assert not first.held
    assert second.acquire() == 2


def test_venues_are_apart(actor: Actor, database: Database, clock: Clock) -> None:
    demo = Lease(lambda: database.connect(autocommit=True), "demo", clock=clock)
    assert (actor().acquire(), demo.acquire()) == (1, 1)
    demo.release()


def test_only_one_of_many_gets_it(actor: Actor) -> None:
    leases = [actor() for _ in range(8)]
    got, barrier = [], threading.Barrier(len(leases))

    def take(lease: Lease) -> None:
        barrier.wait()
        try:
            got.append(lease.acquire())
        except InstanceLocked:
            got.append(0)

    threads = [threading.Thread(target=take, args=[lease]) for lease in leases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [0] * 7 + [1]


def test_it_is_lost_when_it_is_not_renewed_in_time(actor: Actor, conn: Connection, clock: Clock) -> None:
    lease = actor()
    lease.acquire()
    clock.advance(TTL_S - 1)
    assert lease.held
    lease.renew()
    clock.advance(TTL_S)
    assert not lease.held
    until = conn.execute("SELECT expires_at FROM rl_actor_leases").fetchone()
    with pytest.raises(LeaseLost, match="not renewed in time"):
        lease.renew()
    assert not lease.held
    assert conn.execute("SELECT expires_at FROM rl_actor_leases").fetchone() == until  # others need not wait longer


def test_a_step_of_the_wall_clock_is_nothing(actor: Actor, clock: Clock) -> None:
    lease = actor()
    lease.acquire()
    clock.step_wall(3600)
    assert lease.held


def test_it_is_lost_with_its_connection(actor: Actor, conn: Connection) -> None:
    lease = actor()
    lease.acquire()
    conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'actor 1'")
    with pytest.raises(LeaseLost):
        lease.renew()
    assert not lease.held


async def test_the_keeper_tells_within_a_second_of_a_lost_connection(
    actor: Actor, conn: Connection, clock: Clock
) -> None:
    lease = actor()
    await asyncio.to_thread(lease.acquire)
    keeper = asyncio.create_task(lease.keep())
    assert EVERY_S < 1
    await clock.paused()
    conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'actor 1'")
    clock.advance(EVERY_S)
    with pytest.raises(LeaseLost):
        await keeper
    assert not lease.held


async def test_the_keeper_keeps_it(actor: Actor, clock: Clock) -> None:
    lease = actor()
    await asyncio.to_thread(lease.acquire)
    keeper = asyncio.create_task(lease.keep())
    for _ in range(20):  # longer than it lasts unrenewed
        await clock.paused()
        clock.advance(EVERY_S)
    assert lease.held
    assert not keeper.done()
    keeper.cancel()
    with pytest.raises(asyncio.CancelledError):
        await keeper


async def test_the_keeper_tells_though_the_database_does_not_answer(
    actor: Actor, database: Database, clock: Clock
) -> None:
    lease = actor()
    await asyncio.to_thread(lease.acquire)
    with database.connect() as other:
        other.execute("SELECT FROM rl_actor_leases FOR UPDATE")  # whoever renews has to wait
        keeper = asyncio.create_task(lease.keep())
        with database.connect(autocommit=True) as watcher:
            await asyncio.to_thread(wait_for_lock, watcher, "actor 1")
        clock.advance(TTL_S)
        with pytest.raises(LeaseLost, match="not renewed in time"):
            await keeper
        assert not lease.held


def wait_for_lock(conn: Connection, name: str) -> None:
    """Until a connection waits for a row that another holds."""
    query = "SELECT FROM pg_stat_activity WHERE application_name = %s AND wait_event_type = 'Lock'"
    while conn.execute(query, [name]).fetchone() is None:
        pass


# Orders.


def test_an_order_of_an_older_epoch_is_not_stored(actor: Actor, conn: Connection) -> None:
    first, second = actor(), actor()
    store(conn, first.acquire())
    expire(conn)
    with pytest.raises(LeaseLost, match="epoch 1 does not hold the lease of local"):
        store(conn, 1)  # nobody has it, but nobody may have it again by this epoch
    store(conn, second.acquire())
    with pytest.raises(LeaseLost):
        store(conn, 1)
    with pytest.raises(LeaseLost):
        store(conn, 3)
    with pytest.raises(LeaseLost):
        store(conn, 2, "demo")
    store(conn, None)
    assert orders(conn) == [1, 2, None]


def test_who_takes_over_waits_for_an_order_that_is_being_stored(
    actor: Actor, conn: Connection, database: Database
) -> None:
    epoch = actor(ttl_s=0.3).acquire()
    second = actor(ttl_s=30)
    with psycopg.connect(database.login("kflow_writer")) as storing:
        store(storing, epoch)
        query = "SELECT FROM rl_actor_leases WHERE expires_at <= clock_timestamp()"
        while conn.execute(query).fetchone() is None:
            pass
        got: list[int] = []
        thread = threading.Thread(target=lambda: got.append(second.acquire()))
        thread.start()
        wait_for_lock(conn, "actor 2")
        assert got == []
        storing.commit()
        thread.join()
    assert (got, orders(conn)) == ([2], [1])


def test_orders_of_two_epochs_never_overlap(actor: Actor, conn: Connection, database: Database) -> None:
    """Two actors that never look whether they hold the lease, and a third hand that lets it expire."""
    stop = threading.Event()

    def trade() -> None:
        with psycopg.connect(database.login("kflow_writer"), autocommit=True) as mine:
            epoch = 0
            while not stop.is_set():
                try:
                    store(mine, epoch)
                except LeaseLost:
                    try:
                        epoch = actor().acquire()
                    except InstanceLocked:
                        continue

    threads = [threading.Thread(target=trade) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        before = len(orders(conn))
        while len(orders(conn)) < before + 5:
            pass
        expire(conn)
    stop.set()
    for thread in threads:
        thread.join()
    epochs = [epoch for epoch in orders(conn) if isinstance(epoch, int)]
    assert epochs == sorted(epochs)
    assert len(set(epochs)) > 10


@pytest.mark.parametrize("statement", ["UPDATE rl_actor_leases SET epoch = 1", "DELETE FROM rl_actor_leases"])
def test_an_epoch_only_grows(actor: Actor, conn: Connection, statement: str) -> None:
    actor().acquire()
    expire(conn)
    actor().acquire()
    with pytest.raises(psycopg.errors.IntegrityConstraintViolation):
        conn.execute(statement.encode())


def test_other_failures_stay_what_they_are(conn: Connection) -> None:
    with pytest.raises(psycopg.errors.UndefinedTable), stored():
        conn.execute("SELECT FROM nowhere")


def test_no_lease_without_a_database(clock: Clock) -> None:
    with pytest.raises(DatabaseError):
        Lease(lambda: connect("postgresql://127.0.0.1:1/x"), "local", clock=clock).acquire()
