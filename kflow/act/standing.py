"""Whether orders may leave: active, reducing or halted, for each market and for all of them. It outlives the process.

It is kept in the actor's folder, in `standing.json`, and read before every order, since another process may halt at any
moment. Beside it a file KILL, whatever is in it, halts everything: to make one needs no lock and hardly any disk.
What is missing or unreadable counts as halted. It only gets worse by itself; only `arm` makes it better, and a person
calls that.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import Final

import msgspec

from kflow.errors import ConfigError

FOLDER: Final = "actor"  # of the data folder
FILE: Final = "standing.json"
KILL_FILE: Final = "KILL"
_LOCK: Final = "standing.lock"
_MOST_BYTES: Final = 1 << 20


class Standing(Enum):
    """What may be done."""

    ACTIVE = "active"  # what the limits allow
    REDUCING = "reducing"  # only what makes a position smaller
    HALTED = "halted"  # nothing but cancelling

    def stricter(self, other: Standing) -> bool:
        """Whether this allows less than the other."""
        return _RANK[self] > _RANK[other]


_RANK: Final = {Standing.ACTIVE: 0, Standing.REDUCING: 1, Standing.HALTED: 2}


class Mark(msgspec.Struct, frozen=True):
    """A standing, why, and since when (µs)."""

    standing: Standing
    reason: str = ""
    us: int = 0


class Standings(msgspec.Struct, frozen=True):
    """What holds for all markets, and what for single ones beyond it."""

    overall: Mark
    markets: Mapping[str, Mark] = {}

    def of(self, market: str) -> Mark:
        """What holds for a market: the stricter of its own and the overall mark."""
        own = self.markets.get(market)
        return own if own is not None and own.standing.stricter(self.overall.standing) else self.overall

    def worsened(self, mark: Mark, market: str | None) -> Standings:
        """With a mark where it is stricter than what holds there; the first reason is kept."""
        if market is None:
            if not mark.standing.stricter(self.overall.standing):
                return self
            return msgspec.structs.replace(self, overall=mark)
        own = self.markets.get(market)
        if own is not None and not mark.standing.stricter(own.standing):
            return self
        return msgspec.structs.replace(self, markets={**self.markets, market: mark})


def _halted(reason: str) -> Standings:
    return Standings(Mark(Standing.HALTED, reason))


NEVER_ARMED: Final = _halted("nobody armed it yet")
_NOTHING: Final = Standings(Mark(Standing.ACTIVE))


class StandingFile:
    """The standing of one actor's folder. Several processes may use it at once."""

    def __init__(self, folder: Path) -> None:
        """The folder is made, mode 0700, by what writes first."""
        self.folder: Final = folder
        # What could not be written: it holds for this process all the same.
        self._unwritten = _NOTHING
        self._read: tuple[bytes, Standings] = (b"", NEVER_ARMED)

    # Looking.

    def of(self, market: str) -> Mark:
        """What holds for a market at this moment, by the disk. Takes less than 0.1 ms, never raises."""
        return self.now().of(market)

    def now(self) -> Standings:
        """What holds at this moment. Never raises: what cannot be read is halted."""
        killed = self._killed()
        if killed is not None:
            return Standings(killed)
        found = self._stored()
        return found if self._unwritten is _NOTHING else _stricter(found, self._unwritten)

    @property
    def armed_before(self) -> bool:
        """Whether there is anything here from before: if not, nobody ever armed or killed this actor."""
        return any(os.path.lexists(self.folder / name) for name in (FILE, KILL_FILE))

    def _killed(self) -> Mark | None:
        path = self.folder / KILL_FILE
        try:
            us = os.lstat(path).st_mtime_ns // 1000
        except FileNotFoundError:
            return None
        except OSError as error:
            return Mark(Standing.HALTED, f"{path} cannot be looked for: {error.strerror}")
        reason = b""
        with suppress(OSError):
            reason = _contents(path)
        return Mark(Standing.HALTED, reason.decode(errors="replace").strip()[:500] or f"{path} is there", us)

    def _stored(self) -> Standings:
        path = self.folder / FILE
        try:
            raw = _contents(path)
        except FileNotFoundError:
            return NEVER_ARMED
        except OSError as error:
            return _halted(f"{path} cannot be read: {error.strerror}")
        if raw != self._read[0]:
            try:
                self._read = (raw, msgspec.json.decode(raw, type=Standings))
            except (msgspec.DecodeError, msgspec.ValidationError):
                return _halted(f"{path} cannot be understood")
        return self._read[1]

    # Changing.

    def halt(self, reason: str, us: int, market: str | None = None) -> None:
        """No orders any more, in one market or at all. Raises ConfigError where that could not be written down.

        It holds in this process even then.
        """
        self._worsen(Mark(Standing.HALTED, reason, us), market)

    def reduce(self, reason: str, us: int, market: str | None = None) -> None:
        """Only orders that make positions smaller from now on; else as `halt`."""
        self._worsen(Mark(Standing.REDUCING, reason, us), market)

    def kill(self, reason: str, us: int) -> None:
        """Halt everything, without waiting for anybody: by the file KILL, and in `standing.json` if it is free.

        Raises ConfigError where not even the first could be written.
        """
        mark, before = Mark(Standing.HALTED, reason, us), self._unwritten
        self._unwritten = before.worsened(mark, None)
        try:
            self._make_kill_file(reason)
        except OSError as error:
            raise _unwritable(self.folder, error) from error
        self._unwritten = before
        # Held by a process that may be stopped: the file KILL is enough.
        with suppress(OSError), self._locked(wait=False):
            self._write(self._stored().worsened(mark, None))

    def arm(self, reason: str, us: int, market: str | None = None) -> Standings:
        """Active again: a market, or all of them where none is named. For people only. Raises ConfigError."""
        active = Mark(Standing.ACTIVE, reason, us)
        try:
            with self._locked(wait=True):
                if market is None:
                    self._write(Standings(active))
                    # Last: whoever is interrupted before is halted.
                    (self.folder / KILL_FILE).unlink(missing_ok=True)
                    _sync(self.folder)
                    self._unwritten = _NOTHING
                else:
                    kept = {name: mark for name, mark in self._stored().markets.items() if name != market}
                    self._write(msgspec.structs.replace(self._stored(), markets=kept))
                    kept = {name: mark for name, mark in self._unwritten.markets.items() if name != market}
                    self._unwritten = msgspec.structs.replace(self._unwritten, markets=kept)
        except OSError as error:
            raise _unwritable(self.folder, error) from error
        return self.now()

    def _worsen(self, mark: Mark, market: str | None) -> None:
        self._unwritten = self._unwritten.worsened(mark, market)
        try:
            with self._locked(wait=True):
                found = self._stored()
                worse = _stricter(found, self._unwritten)
                if worse != found:
                    self._write(worse)
        except OSError as error:
            if mark.standing is Standing.HALTED and market is None:
                with suppress(OSError):
                    self._make_kill_file(mark.reason)
            raise _unwritable(self.folder, error) from error
        self._unwritten = _NOTHING

    def _make_kill_file(self, reason: str) -> None:
        """That it is there is what counts; its text may be missing on a full disk."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        self._make_folder()
        if os.path.lexists(self.folder / KILL_FILE):
            return
        fd = os.open(self.folder / KILL_FILE, flags, 0o600)
        try:
            with suppress(OSError):
                os.write(fd, reason.encode())
                os.fsync(fd)
        finally:
            os.close(fd)
        _sync(self.folder)

    def _make_folder(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextmanager
    def _locked(self, *, wait: bool) -> Iterator[None]:
        self._make_folder()
        fd = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        finally:
            os.close(fd)

    def _write(self, standings: Standings) -> None:
        replace_file(self.folder / FILE, msgspec.json.format(msgspec.json.encode(standings)) + b"\n")


def replace_file(path: Path, content: bytes) -> None:
    """Put a private file in the place of another: after a power cut it is the old or the new one. Raises OSError."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(fd)
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _stricter(one: Standings, other: Standings) -> Standings:
    both = one.worsened(other.overall, None)
    for market, mark in other.markets.items():
        both = both.worsened(mark, market)
    return both


def _contents(path: Path) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.read(fd, _MOST_BYTES)
    finally:
        os.close(fd)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _unwritable(folder: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"the actor's standing cannot be kept in {folder}: {error.strerror}",
        hint="free disk space, or choose another folder with KFLOW_DATA_DIR",
    )
