"""One actor only: a lock in the data folder for this machine, and a lease in the database for all of them.

A lease has an epoch that only grows. Every order carries it, and the database refuses to store an order of another
epoch than the one that holds the lease (`stored`). So an actor that was thought dead cannot send one more order: each
is stored before it is sent.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, LiteralString

import psycopg

from kflow.clock import NS_PER_S, Clock
from kflow.errors import ConfigError, DatabaseError, InstanceLocked, KflowError
from kflow.store.postgres import Connection, reporting
from kflow.store.sqlfiles import queries

TTL_S: Final = 5.0  # how long a lease outlives an actor that has died
EVERY_S: Final = 0.4  # how often it is renewed: an actor whose connection broke knows it by then
# We stop before the database lets another in, even where its clock runs a little faster than ours.
_MARGIN_S: Final = 0.5
# The database's word for an order of an epoch that does not hold the lease: sql/migrations/0007_actor_lease.sql.
_FENCED: Final = "KF008"


class LeaseLost(InstanceLocked):
    """This actor may not trade any more: another has its place, or may take it. What it meant to send was not sent."""


class HostLock:
    """The right to be the actor of a data folder. The kernel frees it when the process dies, however it dies."""

    def __init__(self, folder: Path) -> None:
        """Take it. Raises InstanceLocked, with the process that has it, and ConfigError where it cannot be."""
        path = folder / "lock"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"{path} cannot be locked: {error.strerror}") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._fd, 32, 0).decode(errors="replace").strip()
            os.close(self._fd)
            raise InstanceLocked(
                f"another actor runs on {folder.parent}: process {holder or 'unknown'}",
                hint="stop that one first, or give this one a folder of its own with KFLOW_DATA_DIR",
            ) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        os.close(self._fd)


class Lease:
    """The right to trade at a venue, as long as it is renewed. Made by `acquire`.

    `held` is true only while the database cannot have given it to another; once false, it stays false.
    """

    def __init__(self, connect: Callable[[], Connection], venue: str, *, clock: Clock, ttl_s: float = TTL_S) -> None:
        """`connect` opens an autocommit connection, which is the lease's own."""
        self.venue: Final = venue
        self.epoch = 0
        self.lost: str = ""  # why; empty while it is not
        self._clock, self._ttl_s = clock, ttl_s
        self._connect = connect
        self._conn: Connection | None = None
        self._until_ns = 0  # on the monotonic clock

    @property
    def held(self) -> bool:
        """Whether orders may be sent by it at this moment."""
        if not self.lost and self._clock.mono_ns() >= self._until_ns:
            self.lost = "it was not renewed in time"
        return not self.lost

    def acquire(self, holder: str | None = None) -> int:
        """Take the lease, once; returns its epoch. Blocks for the time of a query.

        Raises InstanceLocked while another has it, DatabaseError.
        """
        assert self._conn is None, "who lost a lease needs a new one"
        conn = self._connect()
        try:
            with reporting("taking the actor's lease"):
                began_ns, row = self._asked(conn, holder or this_process())
        except KflowError:
            conn.close()
            raise
        assert isinstance(row, int)
        self._conn, self.epoch = conn, row
        self._lasts_from(began_ns)
        return self.epoch

    def _asked(self, conn: Connection, holder: str) -> tuple[int, object]:
        conn.execute(_query("patience"), {"ms": round(self._ttl_s * 1000)})
        chosen = {"venue": self.venue, "holder": holder, "ttl_s": self._ttl_s}
        began_ns = self._clock.mono_ns()
        row = conn.execute(_query("acquire"), chosen).fetchone()
        if row is not None:
            return began_ns, row[0]
        other = conn.execute(_query("held"), chosen).fetchone()
        _, name, left_s = other or (0, "unknown", 0.0)
        assert isinstance(left_s, float)
        raise InstanceLocked(
            f"another actor trades at {self.venue}: {name}",
            hint=f"stop that one first; one that died lets go in {max(left_s, 0):.0f} s",
        )

    def renew(self) -> None:
        """Hold it for longer. Blocks for the time of a query. Raises LeaseLost, now and ever after."""
        if not self.held:
            raise self._lose(self.lost)
        assert self._conn is not None
        began_ns = self._clock.mono_ns()
        try:
            with reporting("renewing the actor's lease"):
                row = self._conn.execute(_query("renew"), self._mine).fetchone()
        except DatabaseError as error:
            raise self._lose(str(error)) from error
        if row is None:
            raise self._lose("another actor has it, or may have it")
        if not self.held:
            raise self._lose(self.lost)  # the answer came after another could take it
        self._lasts_from(began_ns)

    def release(self) -> None:
        """Give it back at once, so that the next need not wait. Never raises: it ends by itself, too."""
        held, self.lost = self.held, self.lost or "it was given back"
        if self._conn is None:
            return
        if held:
            with suppress(psycopg.Error):
                self._conn.execute(_query("release"), self._mine)
        self._conn.close()  # which also ends a renewal that still waits for its answer

    async def keep(self, every_s: float = EVERY_S) -> None:
        """Renew it for ever. Raises LeaseLost at the moment it is lost, even while the database does not answer."""
        while True:
            renewal = asyncio.ensure_future(asyncio.to_thread(self.renew))
            watch = asyncio.ensure_future(self._out_of_time())
            try:
                await asyncio.wait({renewal, watch}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                watch.cancel()
                # A thread cannot be cancelled; what it finds is of no interest any more.
                renewal.add_done_callback(lambda done: done.cancelled() or done.exception())
            if not renewal.done():
                raise self._lose("it was not renewed in time")
            renewal.result()
            await self._clock.sleep(every_s)

    async def _out_of_time(self) -> None:
        while self.held:
            await self._clock.sleep((self._until_ns - self._clock.mono_ns()) / NS_PER_S)

    def _lasts_from(self, began_ns: int) -> None:
        """Counted from before the question: the database counts from later."""
        self._until_ns = began_ns + round((self._ttl_s - _MARGIN_S) * NS_PER_S)

    def _lose(self, why: str) -> LeaseLost:
        self.lost = self.lost or why
        return LeaseLost(f"the lease of {self.venue} is lost: {self.lost}", hint="is another actor running?")

    @property
    def _mine(self) -> dict[str, object]:
        return {"venue": self.venue, "epoch": self.epoch, "ttl_s": self._ttl_s}


@contextmanager
def stored() -> Iterator[None]:
    """Around what inserts into `rl_orders` with its epoch. Raises LeaseLost where that one does not hold the lease."""
    try:
        yield
    except psycopg.Error as error:
        if error.sqlstate == _FENCED:
            raise LeaseLost(f"{error.diag.message_primary}: the order was not stored", hint="") from error
        raise


def this_process() -> str:
    """Host and process, for people."""
    return f"{socket.gethostname()}, process {os.getpid()}"


def _query(name: str) -> LiteralString:
    return queries("actor")[name]
