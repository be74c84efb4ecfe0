"""kflow's own PostgreSQL server, for those who have none: started on demand, shared, stopped by its last user.

Several processes may use one data folder. Each holds a shared lock on clients.lock for as long as it lives; the kernel
releases it even when the process is killed. A tiny keeper process waits for the exclusive lock on the same file: when
it gets it, nobody is left, and it stops the server. Whoever starts the server holds door.lock meanwhile.
Why so: docs/decisions/0003-embedded-postgres.md.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final

import psycopg
from psycopg.conninfo import make_conninfo

from kflow.errors import ConfigError, DatabaseError
from kflow.store.binaries import Binaries
from kflow.store.cluster import PORT, SUPERUSER, Cluster

DATABASE: Final = "kflow"
_START_TIMEOUT_S: Final = 300.0  # recovery after a crash may replay gigabytes
_POLL_S: Final = 0.01
_PATIENCE: Final = 3  # starts that may fail for good reasons before we believe the log
# Failures that pass by themselves: processes of a killed server that have not yet noticed.
_PASSING: Final = ("still in use", "already exists", "starting up", "shutting down")

# Detaches, waits until no client holds the lock, then becomes pg_ctl. Its standard streams are closed.
_KEEPER: Final = """
import fcntl, os, sys
if os.fork(): os._exit(0)
lock, uid, gid, *command = sys.argv[1:]
fcntl.flock(int(lock), fcntl.LOCK_EX)
if int(uid) >= 0:
    os.setgroups([]); os.setgid(int(gid)); os.setuid(int(uid))
os.execv(command[0], command)
"""


class EmbeddedServer:
    """A client's hold on the server of one data folder. Make it with `acquire`; `close` lets go."""

    def __init__(self, home: Path, settings: Mapping[str, str], programs: Path | None) -> None:
        self._home = home
        self._settings = dict(settings)
        self._programs = programs
        self._clients: int | None = _opened(home / "clients.lock")
        self._cluster: Cluster | None = None

    @classmethod
    def acquire(
        cls, data_dir: Path, *, settings: Mapping[str, str] | None = None, programs: Path | None = None
    ) -> EmbeddedServer:
        """Join the server of `data_dir`, starting (and on the first day creating) it where none runs.

        For a start by this call: `settings` of PostgreSQL, and the folder of its `programs` instead of the first found.
        Raises ConfigError where no server can be run here, DatabaseError where it does not start.
        """
        home = data_dir.absolute() / "database"
        try:
            home.mkdir(mode=0o700, exist_ok=True)
            server = cls(home, settings or {}, programs)
        except OSError as error:
            raise ConfigError(
                f"the database folder {home} cannot be used: {error.strerror}",
                hint="run kflow as its owner, or choose another folder with KFLOW_DATA_DIR",
            ) from error
        try:
            assert server._clients is not None
            fcntl.flock(server._clients, fcntl.LOCK_SH)  # waits while a keeper is stopping the server
            server.ensure()
        except BaseException:
            server.close()
            raise
        return server

    @property
    def dsn(self) -> str:
        """Connection string of the database `kflow`, as its superuser; holds no password."""
        return self._dsn(DATABASE)

    @property
    def cluster(self) -> Cluster:
        if self._cluster is None:
            raise DatabaseError("the embedded server was not acquired")
        return self._cluster

    def ensure(self) -> None:
        """Start the server again where it has died. Cheap while it lives; for use after a lost connection."""
        with _locked(self._home / "door.lock"):
            self._cluster = Cluster.of(self._home, self._programs)
            if self._prepared():
                return
            binaries = self._cluster.binaries()
            if self._cluster.major is None:
                self._cluster.create(binaries)
            self._start(binaries)

    def close(self) -> None:
        """Let go; the last one to do so stops the server before this returns."""
        clients, self._clients = self._clients, None
        if clients is None:
            return
        try:
            fcntl.flock(clients, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # Others are left, which returns at once, or the keeper is stopping the server, which is waited for.
            fcntl.flock(clients, fcntl.LOCK_SH)
        else:
            if self._cluster is not None and self._cluster.postmaster() is not None:
                self._cluster.stop(self._cluster.binaries())
        finally:
            os.close(clients)

    def __enter__(self) -> EmbeddedServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _dsn(self, database: str) -> str:
        sockets = self.cluster.socket_folder()
        if sockets is None:
            raise DatabaseError("the embedded server has no socket", hint=f"see {self.cluster.log}")
        return make_conninfo(host=str(sockets), port=PORT, user=SUPERUSER, dbname=database)

    def _prepared(self) -> bool:
        """Whether the server answers; makes the database `kflow` where it does not have it yet."""
        if self.cluster.socket_folder() is None:
            return False
        try:
            with psycopg.connect(self._dsn("postgres"), autocommit=True, connect_timeout=10) as conn:
                known = conn.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
                if known is None:
                    conn.execute("CREATE DATABASE kflow")
        except psycopg.OperationalError:
            return False
        return True

    def _start(self, binaries: Binaries) -> None:
        cluster = self.cluster
        with self._keeper(binaries):
            failures = 0
            deadline = time.monotonic() + _START_TIMEOUT_S
            while time.monotonic() < deadline:
                if cluster.postmaster() is None:
                    cluster.start(binaries, self._settings)
                    failures += 0 if self._came_up() else 1
                    if failures > _PATIENCE and not any(word in cluster.last_fatal() for word in _PASSING):
                        break
                if self._prepared():
                    return
                time.sleep(_POLL_S)
        raise DatabaseError(
            f"the embedded PostgreSQL does not start: {cluster.last_fatal() or 'no reason given'}",
            hint=f"its log is {cluster.log}",
        )

    def _came_up(self) -> bool:
        """Whether a server that was just launched got as far as its lock file or an answer; False if it gave up."""
        for _ in range(50):
            if self._prepared() or self.cluster.postmaster() is not None:
                return True
            time.sleep(_POLL_S)
        return False

    @contextmanager
    def _keeper(self, binaries: Binaries) -> Iterator[None]:
        """Have a keeper watch over the server that the block starts, unless one does already."""
        watch = _opened(self._home / "keeper.lock")
        try:
            fcntl.flock(watch, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(watch)
            yield
            return
        account = self.cluster.account
        identity = (account.uid, account.gid) if account.changes else (-1, -1)
        # A lock belongs to the open file, so the keeper must be given one of its own.
        clients = _opened(self._home / "clients.lock")
        try:
            script = [sys.executable, "-I", "-S", "-c", _KEEPER, str(clients), *map(str, identity)]
            options = account.process_options() | {"pass_fds": (watch, clients), "stdout": subprocess.DEVNULL}
            for name in ("user", "group", "extra_groups"):  # it changes its user itself: Python may be out of reach
                options.pop(name, None)
            with subprocess.Popen(  # noqa: S603 - our own interpreter and script
                [*script, *self.cluster.stop_command(binaries)], stderr=subprocess.DEVNULL, **options
            ):
                yield
        finally:
            os.close(clients)
            os.close(watch)


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    file = _opened(path)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)
