"""One PostgreSQL cluster on disk: where it lives, how it is made, started and stopped. Its callers do the locking."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kflow.errors import ConfigError, DatabaseError
from kflow.store.account import Account
from kflow.store.binaries import Binaries, find_binaries

PORT: Final = 5432  # only part of a file name: the server listens on no network
SUPERUSER: Final = "kflow"
_SOCKET: Final = f".s.PGSQL.{PORT}"
# sun_path holds 108 bytes on Linux and 104 elsewhere, with its closing zero.
_SOCKET_PATH_LIMIT: Final = 107 if os.uname().sysname == "Linux" else 103
_LOG_LIMIT: Final = 10_000_000  # bytes; a longer log is put aside, once, at the next start
_SYSTEM_FOLDER: Final = Path("/var/lib/kflow")
_POINTER: Final = "location"  # in the data folder: where the cluster is, if not there
_OWNER: Final = "belongs-to"  # beside a cluster elsewhere: whose it is

_SETTINGS: Final = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "port": str(PORT),
    "timezone": "UTC",
    "log_timezone": "UTC",
    "jit": "off",  # compiling costs more than the queries here gain
    "max_wal_size": "4GB",  # a recorder writes steadily: fewer, larger checkpoints
}


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster in `folder`: data/ is PostgreSQL's own, run/ holds its socket unless file `socket` names another."""

    folder: Path
    account: Account
    programs: Path | None = None  # the only folder to take server programs from

    @classmethod
    def of(cls, home: Path, programs: Path | None = None) -> Cluster:
        """The cluster of the database folder `home`; the place is chosen, made and recorded on the first call."""
        inside = home / "cluster"
        if inside.is_dir():
            return cls(inside, Account.for_server(inside), programs)
        pointer = home / _POINTER
        if pointer.is_file():
            elsewhere = Path(pointer.read_text(encoding="utf-8"))
            if not elsewhere.is_dir():
                raise ConfigError(
                    f"the database of {home.parent} should be in {elsewhere}, which is gone",
                    hint=f"bring it back, or remove {pointer} to start with an empty database",
                )
            return cls(elsewhere, Account.for_server(elsewhere), programs)
        account = Account.for_server(inside)
        if account.reaches(home.parent):
            home.chmod(0o711 if account.changes else 0o700)
            return cls(_private(inside, account), account, programs)
        return cls(_elsewhere(home, account), account, programs)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    @property
    def major(self) -> int | None:
        """The PostgreSQL major version that wrote the data; None before there is any."""
        try:
            return int((self.data / "PG_VERSION").read_text(encoding="ascii"))
        except FileNotFoundError:
            return None

    def socket_folder(self) -> Path | None:
        """Where the socket of the last start is; None where it is gone or not the server's own."""
        try:
            folder = Path((self.folder / "socket").read_text(encoding="utf-8"))
            return folder if folder.lstat().st_uid == self.account.uid else None
        except FileNotFoundError:
            return None

    def binaries(self) -> Binaries:
        return find_binaries(self.account, self.folder, major=self.major, programs=self.programs)

    def create(self, binaries: Binaries) -> None:
        """Make the data folder. A half-made one of an interrupted call is made anew."""
        half = self.folder / "data.new"
        shutil.rmtree(half, ignore_errors=True)
        with tempfile.TemporaryFile() as output:
            options = ["-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-instructions"]
            done = self._run([binaries.program("initdb"), "-D", str(half), *options], output.fileno())
            if done != 0:
                output.seek(0)
                last = output.read().decode(errors="replace").strip().splitlines()[-1:]
                raise DatabaseError(f"initdb failed: {' '.join(last)}", hint=f"is there room in {self.folder}?")
        half.rename(self.data)

    def start(self, binaries: Binaries, settings: Mapping[str, str]) -> None:
        """Launch the server and return at once. Whether it runs is seen by connecting, or in its log."""
        self._forget_dead_postmaster()
        if self.log.is_file() and self.log.stat().st_size > _LOG_LIMIT:
            self.log.rename(self.log.with_name("server.log.1"))
        sockets = self._make_socket_folder()
        merged = _SETTINGS | {"unix_socket_directories": str(sockets)} | dict(settings)
        options = " ".join(f"-c {shlex.quote(f'{name}={value}')}" for name, value in merged.items())
        # pg_ctl hands paths to a shell within double quotes, so it gets none of ours: it works in the data folder.
        command = ["-D", ".", "-W", "-l", f"../{self.log.name}", "-o", options, "start"]
        self._run([binaries.program("pg_ctl"), *command], subprocess.DEVNULL, self.data)

    def stop_command(self, binaries: Binaries) -> list[str]:
        return [binaries.program("pg_ctl"), "-D", str(self.data), "-w", "-t", "120", "-m", "fast", "-s", "stop"]

    def stop(self, binaries: Binaries) -> None:
        """Stop the server in order; no error if none runs."""
        self._run(self.stop_command(binaries), subprocess.DEVNULL)

    def postmaster(self) -> int | None:
        """Process id of the running server; None where there is none (a zombie is none)."""
        try:
            pid = int((self.data / "postmaster.pid").read_text(encoding="ascii").split("\n", 1)[0])
            os.kill(pid, 0)
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return None
        except PermissionError:
            return None  # a pid used again by someone else: our server runs under an account we may signal
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return pid if not Path("/proc/self").exists() else None
        name, _, rest = stat.partition("(")[2].rpartition(")")
        return pid if name == "postgres" and rest.split()[0] != "Z" else None

    def last_fatal(self) -> str:
        """The last line of the log that says why the server gave up; empty where none does."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, self.log.stat().st_size - 20_000))
                lines = log.read().decode(errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        fatal = [line.partition("FATAL:")[2].strip() for line in lines if "FATAL:" in line]
        return fatal[-1] if fatal else ""

    def _run(self, command: Sequence[str], output: int, working: Path | None = None) -> int:
        options = self.account.process_options() | {"cwd": working or self.folder}
        try:
            return subprocess.run(  # noqa: S603 - programs we found, arguments we made
                command, stdout=output, stderr=subprocess.STDOUT, check=False, **options
            ).returncode
        except OSError as error:
            raise DatabaseError(f"{command[0]} cannot be run: {error.strerror}") from error

    def _forget_dead_postmaster(self) -> None:
        """Remove the lock files of a server that is gone but whose process id still exists.

        PostgreSQL removes stale ones itself, but takes a zombie (a killed server whose parent, in a container, does not
        reap it) or another program under a used-again id for a running server.
        """
        if self.postmaster() is not None:
            return
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        sockets = self.socket_folder()
        if sockets is not None:
            (sockets / f"{_SOCKET}.lock").unlink(missing_ok=True)

    def _make_socket_folder(self) -> Path:
        folder = self.folder / "run"
        fits = len(os.fsencode(folder / _SOCKET)) <= _SOCKET_PATH_LIMIT and not set(str(folder)) & set(',"')
        if fits:
            if not folder.is_dir():
                _private(folder, self.account)
        else:
            known = self.socket_folder()
            folder = known if known is not None else Path(tempfile.mkdtemp(prefix="kflow-", dir="/tmp"))
            self.account.own(folder)
        record = self.folder / "socket"
        record.write_text(str(folder), encoding="utf-8")
        self.account.own(record)
        return folder


def _private(folder: Path, account: Account) -> Path:
    folder.mkdir(mode=0o700)
    account.own(folder)
    return folder


def _elsewhere(home: Path, account: Account) -> Path:
    """A place for the cluster that `account` can reach, when root's data folder is closed to it; recorded in `home`.

    Beside the data folder where that is open, so that both stay on one volume; in the folder for temporary files for
    data kept there; else under /var/lib/kflow.
    """
    data_folder, temporary = home.parent, Path(tempfile.gettempdir()).resolve()
    if account.reaches(data_folder.parent):
        parent, prefix = data_folder.parent, f"{data_folder.name}-postgres-"
    elif data_folder.resolve().is_relative_to(temporary) and account.reaches(temporary):
        parent, prefix = temporary, "kflow-postgres-"
        _remove_orphans(parent, prefix)
    else:
        parent, prefix = _SYSTEM_FOLDER, "postgres-"
        parent.mkdir(mode=0o755, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    place.chmod(0o711)
    (place / _OWNER).write_text(str(data_folder), encoding="utf-8")
    cluster = _private(place / "cluster", account)
    if not account.reaches(cluster):
        raise ConfigError(
            f"root may not run PostgreSQL, and user {account.name} cannot enter {parent}",
            hint="set KFLOW_DATA_DIR to a folder that others may pass through, or run kflow as another user",
        )
    pointer = home / f"{_POINTER}.new"
    pointer.write_text(str(cluster), encoding="utf-8")
    pointer.rename(home / _POINTER)
    return cluster


def _remove_orphans(parent: Path, prefix: str) -> None:
    """Remove temporary clusters whose data folder is gone, as only we could have made them: root's, and not running."""
    for place in parent.glob(f"{prefix}*"):
        try:
            if place.is_symlink() or place.stat().st_uid != 0:
                continue
            owner = Path((place / _OWNER).read_text(encoding="utf-8"))
        except OSError:
            continue
        cluster = place / "cluster"
        if not owner.exists() and (
            not cluster.is_dir() or Cluster(cluster, Account.for_server(cluster)).postmaster() is None
        ):
            shutil.rmtree(place, ignore_errors=True)
