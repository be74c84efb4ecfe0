"""What a running actor is at this moment: judged once a second, written to a small file, read by whoever asks.

The file is in the actor's folder, so `kflow ingest` and `kflow actor status` need no connection to it. An actor that
ends in order takes it away; one that died leaves it behind, and it grows old. Units as in orders.py.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from kflow.act.alerts import AlertCounts, Alerts, Severity
from kflow.act.holdings import Holdings, holdings
from kflow.act.orders import Account
from kflow.act.standing import FOLDER, Standing
from kflow.clock import NS_PER_S, Clock

if TYPE_CHECKING:
    from kflow.act.actor import Actor
    from kflow.act.behind import BehindStatus
    from kflow.act.records import Run

_log = logging.getLogger(__name__)
FILE: Final = "pulse.json"  # in `standing.FOLDER` of the data folder
EVERY_S: Final = 1.0
STALE_S: Final = 5.0  # a file that is older is of an actor that died, or hangs
STARTING_S: Final = 30.0  # until then it is no illness that there is no feed yet
RECONCILED_S: Final = 150.0  # since the last one that came to an end; it is due each minute
UNRESOLVED_S: Final = 5.0  # an order of which nobody knows for so long
STUCK_S: Final = 10.0  # without one look at any market
_MOST_BYTES: Final = 1 << 20

DISABLED, HEALTHY, UNHEALTHY, NOT_INITIALIZED = "disabled", "healthy", "unhealthy", "not_initialized"
# What is wrong, by key: how soon a person should look, and for how long it may be so before it is told.
TOLD: Final[Mapping[str, tuple[Severity, float]]] = {
    "halted": (Severity.CRITICAL, 0.0),
    "lease": (Severity.CRITICAL, 0.0),
    "loop": (Severity.CRITICAL, 0.0),
    "reducing": (Severity.WARNING, 0.0),
    "markets": (Severity.WARNING, 0.0),
    "reconciliation": (Severity.CRITICAL, 0.0),
    "orders": (Severity.CRITICAL, 0.0),  # has its own patience
    "records": (Severity.CRITICAL, 2.0),
    "feed": (Severity.WARNING, 5.0),
    "decisions": (Severity.WARNING, 0.0),
}
# With one of these no order leaves, or none should.
_ILL: Final = frozenset({"halted", "lease", "loop", "reconciliation", "orders", "records", "feed"})


@dataclass(slots=True)
class Reconciliation:
    """How reconciling with the venue goes; the actor says so here."""

    us: int | None = None  # of the last that came to an end, wall clock
    failed: str = ""  # why the last one did not
    mismatches: int = 0  # positions and cash that differed in it: adopted, and their market halted

    def done(self, us: int, mismatches: int) -> None:
        self.us, self.failed, self.mismatches = us, "", mismatches


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """What an actor is judged by: handles to its parts."""

    run: Run
    actor: Actor
    clock: Clock
    connected: Callable[[], bool]  # to the venue's feed
    lease_lost: Callable[[], str]  # why; empty while it is held
    reconciliation: Reconciliation
    records: BehindStatus
    alerts: Alerts | None = None
    account: Callable[[], Account | None] = lambda: None  # at the venue; None before it is known


class Beat(msgspec.Struct, frozen=True, kw_only=True):
    """An actor at one moment."""

    us: int  # wall clock
    began_us: int
    pid: int
    host: str
    run: str
    venue: str
    strategy: str
    epoch: int
    status: str  # healthy, unhealthy, not_initialized
    problems: dict[str, str]  # in words, by what has them
    standing: str
    reason: str  # of the standing
    markets: int
    halted_markets: int
    books: int  # whole ones
    connected: bool
    lease_held: bool
    reconciled_us: int | None
    mismatches: int
    open_orders: int
    unresolved: int
    unresolved_s: float  # of the oldest
    decisions: int
    holds: int
    waits: int
    failures: int
    sent: int
    fills: int
    passed: int
    denied: dict[str, int]  # by reason
    latency_us: dict[str, int | None]  # from the book's last frame to the sending of an order: p50, p99
    records: dict[str, int]  # connected, waiting, dropped, refused
    alerts: dict[str, int]  # told, delivered, failed, dropped
    holdings: Holdings = Holdings()


class Sign(NamedTuple):
    """What can be said of an actor from its folder. `status`: one of the four words."""

    status: str
    problems: tuple[str, ...]
    beat: Beat | None
    age_s: float | None


class Pulse:
    """Judges an actor, keeps its file, and tells people of what is wrong."""

    def __init__(self, vitals: Vitals, data: Path) -> None:
        """`data`: the data folder; the actor's folder in it has to be there."""
        self._vitals: Final = vitals
        self._path: Final = data / FOLDER / FILE
        self._began_ns: Final = vitals.clock.mono_ns()
        self._began_us: Final = vitals.clock.wall_ns() // 1000
        self._turns = -1
        self._moved_ns = self._began_ns
        self._since: dict[str, float] = {}  # problems: since when, seconds of our run
        self._told: set[str] = set()
        self._unwritable = False
        self._begun = False  # it was connected and reconciled once
        self.last: Beat = self.look()

    def look(self) -> Beat:
        """Judge it now."""
        self.last = _beat(self._vitals, self._began_us, self._problems(), self._starting)
        return self.last

    @property
    def alive(self) -> bool:
        """Whether it still gets anywhere: a new start is the only help where not."""
        return self._stuck_s < 6 * STUCK_S

    async def run(self) -> None:
        """Look, write and tell, each second, until cancelled; then the file is taken away."""
        try:
            while True:
                self._tell(self.look())
                self.write(self.last)
                await self._vitals.clock.sleep(EVERY_S)
        finally:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)

    def write(self, beat: Beat) -> None:
        """For others to see. What cannot be written is told in the log, once."""
        try:
            _replace(self._path, msgspec.json.encode(beat))
            self._unwritable = False
        except OSError as error:
            if not self._unwritable:
                _log.error("%s cannot be written, so others take this actor for dead: %s", self._path, error.strerror)
            self._unwritable = True

    def _tell(self, beat: Beat) -> None:
        alerts, now_s = self._vitals.alerts, self._age_s
        for gone in self._since.keys() - beat.problems.keys():
            del self._since[gone]
            if gone in self._told:
                self._told.remove(gone)
                if alerts is not None:
                    alerts.recovered(gone)
        for key, text in beat.problems.items():
            severity, patience_s = TOLD[key]
            since_s = self._since.setdefault(key, now_s)
            if alerts is not None and now_s - since_s >= patience_s and beat.status != NOT_INITIALIZED:
                self._told.add(key)
                alerts.tell(severity, key, text)

    # What is wrong.

    @property
    def _age_s(self) -> float:
        return (self._vitals.clock.mono_ns() - self._began_ns) / NS_PER_S

    @property
    def _stuck_s(self) -> float:
        return (self._vitals.clock.mono_ns() - self._moved_ns) / NS_PER_S

    @property
    def _starting(self) -> bool:
        vitals = self._vitals
        self._begun = self._begun or (vitals.connected() and vitals.reconciliation.us is not None)
        return not self._begun and self._age_s < STARTING_S

    def _problems(self) -> dict[str, str]:
        vitals = self._vitals
        now_us, tally = vitals.clock.wall_ns() // 1000, vitals.actor.tally
        if tally.decisions + tally.waits != self._turns:
            self._turns, self._moved_ns = tally.decisions + tally.waits, vitals.clock.mono_ns()
        found: dict[str, str] = {}
        _standing(vitals, found)
        if lost := vitals.lease_lost():
            found["lease"] = f"the lease is lost: {lost}"
        if self._stuck_s > STUCK_S:
            found["loop"] = f"no market was looked at for {self._stuck_s:.0f} s"
        if not vitals.connected():
            found["feed"] = "no connection to the venue's feed"
        reconciled = vitals.reconciliation
        if reconciled.failed:
            found["reconciliation"] = f"orders could not be compared with the venue's: {reconciled.failed}"
        elif (since_s := (now_us - (reconciled.us or self._began_us)) / 1e6) > RECONCILED_S:
            found["reconciliation"] = f"orders were not compared with the venue's for {since_s:.0f} s"
        oldest_s = _unresolved(vitals.actor, now_us)[1]
        if oldest_s > UNRESOLVED_S:
            found["orders"] = f"of an order it is not known for {oldest_s:.0f} s whether it is at the venue"
        records = vitals.records
        if records.refused or not records.connected:
            found["records"] = f"orders cannot be stored: {records.last_error or 'the database is away'}"
        if records.dropped:
            found["decisions"] = f"{records.dropped} decisions could not be written down"
        return found


def _standing(vitals: Vitals, found: dict[str, str]) -> None:
    now = vitals.actor.standing.now()
    if now.overall.standing is not Standing.ACTIVE:
        key = "halted" if now.overall.standing is Standing.HALTED else "reducing"
        found[key] = f"{key}: {now.overall.reason}"
        return
    halted = {name: mark for name, mark in now.markets.items() if mark.standing is not Standing.ACTIVE}
    if halted:
        name, mark = next(iter(halted.items()))
        rest = f", and {len(halted) - 1} more" if len(halted) > 1 else ""
        found["markets"] = f"{name} is {mark.standing.value}: {mark.reason}{rest}"


def _unresolved(actor: Actor, now_us: int) -> tuple[int, float]:
    """Orders of which nobody knows whether they are at the venue, and for how many seconds of the oldest."""
    unknown = actor.desk.unknown
    return len(unknown), max((max(now_us - order.updated_us, 0) / 1e6 for order in unknown), default=0.0)


def _beat(vitals: Vitals, began_us: int, problems: dict[str, str], starting: bool) -> Beat:
    actor, run, now_us = vitals.actor, vitals.run, vitals.clock.wall_ns() // 1000
    tally, standings, records = actor.tally, actor.standing.now(), vitals.records
    ill = _ILL & problems.keys()
    unresolved, unresolved_s = _unresolved(actor, now_us)
    counts = AlertCounts() if vitals.alerts is None else vitals.alerts.counts
    return Beat(
        us=now_us,
        began_us=began_us,
        pid=os.getpid(),
        host=socket.gethostname(),
        run=str(run.run),
        venue=run.venue,
        strategy=run.strategy,
        epoch=run.epoch,
        status=NOT_INITIALIZED if starting and ill <= {"feed", "records"} else UNHEALTHY if ill else HEALTHY,
        problems=problems,
        standing=standings.overall.standing.value,
        reason=standings.overall.reason,
        markets=len(actor.seats),
        halted_markets=sum(standings.of(market).standing is Standing.HALTED for market in actor.seats),
        books=sum(seat.market.valid for seat in actor.seats.values()),
        connected=vitals.connected(),
        lease_held=not vitals.lease_lost(),
        reconciled_us=vitals.reconciliation.us,
        mismatches=vitals.reconciliation.mismatches,
        open_orders=sum(1 for _ in actor.desk.live()),
        unresolved=unresolved,
        unresolved_s=round(unresolved_s, 3),
        decisions=tally.decisions,
        holds=tally.holds,
        waits=tally.waits,
        failures=tally.failures,
        sent=tally.sent,
        fills=tally.fills,
        passed=tally.guard.passed,
        denied=tally.guard.by_reason(),
        latency_us=_quantiles(tally.latency_us),
        records={name: int(getattr(records, name)) for name in ("connected", "waiting", "dropped", "refused")},
        alerts={name: getattr(counts, name) for name in ("told", "delivered", "failed", "dropped")},
        holdings=holdings(actor, vitals.account()),
    )


def _quantiles(values: list[int]) -> dict[str, int | None]:
    ordered = sorted(values)
    return {
        name: ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else None
        for name, share in (("p50", 0.5), ("p99", 0.99))
    }


# From elsewhere.


def read(data: Path, *, enabled: bool, clock: Clock) -> Sign:
    """What the data folder tells of its actor. `enabled`: by the settings. Never raises."""
    path = data / FOLDER / FILE
    try:
        beat = msgspec.json.decode(_contents(path), type=Beat)
    except FileNotFoundError:
        if not enabled:
            return Sign(DISABLED, (), None, None)
        return Sign(NOT_INITIALIZED, ("the actor is enabled, and does not run",), None, None)
    except OSError as error:
        return Sign(UNHEALTHY, (f"{path} cannot be read: {error.strerror}",), None, None)
    except msgspec.MsgspecError:
        return Sign(UNHEALTHY, (f"{path} cannot be understood",), None, None)
    # A clock that was stepped makes it as strange as one that stands.
    age_s = (clock.wall_ns() // 1000 - beat.us) / 1e6
    if abs(age_s) > STALE_S:
        text = f"the actor (process {beat.pid}) gave no sign of life for {age_s:.0f} s"
        return Sign(UNHEALTHY, (f"{text}; if none is to run any more, remove {path}",), beat, age_s)
    return Sign(beat.status, tuple(beat.problems.values()), beat, age_s)


def _contents(path: Path) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.read(fd, _MOST_BYTES)
    finally:
        os.close(fd)


def _replace(path: Path, content: bytes) -> None:
    """Whole or not at all for who reads it; after a power cut there is no actor anyway, so nothing is synced."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
