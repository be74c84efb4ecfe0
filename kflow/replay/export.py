"""Sessions to files: each market of each session whole or not at all, under one folder, safe to run again and again.

A market's files are written into a hidden folder and renamed into place when they are complete; its manifest, a JSON
file beside them, comes last. A run that finds a manifest of the same request whose files are what it says passes on.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import msgspec

from kflow import __version__
from kflow.errors import ConfigError, InstanceLocked, KflowError, UsageError
from kflow.replay.formats import SCHEMA_VERSION, Format, FormatWriter, Target
from kflow.replay.formats.levels import LevelFollower
from kflow.replay.load import EVERYTHING, GapMark, Moment, Pick, Source, read_moments, session_markets
from kflow.replay.tables import open_journal
from kflow.session.digest import BookDigest
from kflow.store import sessions
from kflow.store.journal_reader import JournalReader
from kflow.store.postgres import Connection, reporting
from kflow.store.sessions import Session

# Markets that are written in one pass over a session: each keeps files open.
MARKETS_PER_PASS: Final = 32
# Events that may pass before one tells the venue's time.
_PATIENCE: Final = 1_000
_REPORT: Final = 20_000
_LOCK: Final = ".kflow-export.lock"
_PART: Final = ".part-"
_SAFE: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
_LONGEST: Final = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be exported. `wait`: for another export into the same folder to end."""

    out: Path
    format: Format
    sessions: Sequence[int]
    pick: Pick = EVERYTHING
    source: Source = "tables"
    levels: int = 10
    partitioned: bool = False
    wait: bool = False


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """One market of one session, as its manifest tells it. Paths are relative to the folder of the export."""

    schema_version: int
    kflow_version: str
    # What was asked for, and of which state of the session: the same again need not be written again.
    request: dict[str, Any]
    session: int
    market: str
    # Of the book events written; what reading a format back must give, if it carries every column.
    digest: str
    # Of the level changes; what reading any format back must give.
    level_digest: str
    counts: dict[str, int]
    gaps: list[dict[str, Any]]
    # What the format adds.
    facts: dict[str, Any]
    files: list[dict[str, Any]]


@dataclass(slots=True)
class Report:
    """What a run did."""

    written: list[Written] = field(default_factory=list)
    skipped: list[Written] = field(default_factory=list)

    @property
    def events(self) -> int:
        return sum(sum(one.counts.values()) for one in self.written)


def safe_name(text: str) -> str:
    """A file name for any market: letters, digits and - _ . stay, everything else is %XX; no name is hidden."""
    name = "".join(
        character if character in _SAFE else "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "replace"))
        for character in text
    )
    if name.startswith(".") or not name:
        name = f"%2E{name[1:]}"
    if len(name) > _LONGEST:
        name = f"{name[:_LONGEST]}~{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:16]}"
    return name


def export(conn: Connection, request: Request, *, progress: Callable[[int], None] = lambda _: None) -> Report:
    """Write what is missing. `conn` must not be in a transaction.

    Raises UsageError (no such session or market), InstanceLocked, ConfigError (the folder cannot be written), DataError
    and JournalError (the session cannot be read), DatabaseError.
    """
    with reporting("the export"):
        return _export(conn, request, progress)


def _export(conn: Connection, request: Request, progress: Callable[[int], None]) -> Report:
    found = sessions.read_sessions(conn, request.sessions)
    markets = {session.id: _wanted(session_markets(conn, session.id), request.pick) for session in found}
    unknown = (request.pick.markets or frozenset()) - {market for names in markets.values() for market in names}
    if unknown:
        raise UsageError(
            f"none of these sessions recorded {', '.join(sorted(unknown))}",
            hint="kflow sessions show N lists a session's markets",
        )
    report = Report()
    try:
        with _locked(request.out, wait=request.wait) as root:
            for session in found:
                _Session(conn, request, root, session).export(markets[session.id], report, progress)
    except OSError as error:
        raise ConfigError(
            f"cannot write to {request.out}: {error.strerror or error}", hint="free disk space or choose another --out"
        ) from error
    return report


def _wanted(markets: Sequence[str], pick: Pick) -> list[str]:
    return [market for market in markets if pick.markets is None or market in pick.markets]


@contextmanager
def _locked(out: Path, *, wait: bool) -> Iterator[Path]:
    """The folder, made where missing, for this run alone."""
    out.mkdir(parents=True, exist_ok=True)
    root = out.resolve()
    descriptor = os.open(root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InstanceLocked(
                f"another export into {out} is running", hint="wait for it with --wait, or choose another --out"
            ) from None
        yield root
    finally:
        os.close(descriptor)


class _Session:
    """The export of one session."""

    def __init__(self, conn: Connection, request: Request, root: Path, session: Session) -> None:
        self._conn, self._request, self._root, self._session = conn, request, root, session
        self._folder = _own_folder(root, f"{session.id:04d}")
        for leftover in self._folder.glob(f"{_PART}*"):
            shutil.rmtree(leftover)  # of a run that was killed: the lock is ours
        self._asked = self._key()

    def _key(self) -> dict[str, Any]:
        """What tells one export of this session from another."""
        request, session, pick = self._request, self._session, self._request.pick
        if request.source == "tables":
            state = sessions.read_watermark(self._conn, session.id)
        else:
            with open_journal(self._conn, session) as directory:
                state = JournalReader(directory).size()
        return {
            "format": request.format.name,
            "schema_version": SCHEMA_VERSION,
            "session_uuid": str(session.uuid),
            "session_state": session.state,
            "journal_offset": state,
            "source": request.source,
            "start_ns": pick.start_ns,
            "end_ns": pick.end_ns,
            "levels": request.levels if request.format.name == "lobster" else None,
            "partitioned": request.partitioned if request.format.name == "parquet" else None,
        }

    def export(self, markets: Sequence[str], report: Report, progress: Callable[[int], None]) -> None:
        missing = []
        for market in markets:
            finished = self._finished(market)
            if finished is None:
                missing.append(market)
            else:
                report.skipped.append(finished)
        for at in range(0, len(missing), MARKETS_PER_PASS):
            report.written += self._pass(missing[at : at + MARKETS_PER_PASS], progress)

    def _manifest(self, market: str) -> Path:
        return self._folder / f"{safe_name(market)}.{self._request.format.name}.json"

    def _finished(self, market: str) -> Written | None:
        """The manifest of an earlier run, if it is of this request and its files are what it says."""
        found = _read_manifest(self._manifest(market))
        if found is None or found.request != self._asked or found.market != market:
            return None
        for file in found.files:
            path = self._inside(file["name"])
            if path is None or not path.is_file() or path.is_symlink() or path.stat().st_size != file["bytes"]:
                return None
            if _sha256(path) != file["sha256"]:
                return None
        return found

    def _inside(self, name: str) -> Path | None:
        """A path that a manifest names, unless it leaves the folder."""
        path = self._root / name
        return path if path.resolve().is_relative_to(self._root) else None

    def _pass(self, markets: Sequence[str], progress: Callable[[int], None]) -> list[Written]:
        """Write some markets in one pass over the session."""
        units = {market: _Unit(self._request, self._folder, self._session, market) for market in markets}
        seen = 0
        try:
            pick = replace(self._request.pick, markets=frozenset(markets))
            for moment in read_moments(self._conn, self._session, pick, source=self._request.source):
                market = moment.event.market
                if market is not None:
                    units[market].write(moment)
                else:
                    for unit in units.values():
                        unit.write(moment)
                seen += 1
                if seen % _REPORT == 0:
                    progress(_REPORT)
            progress(seen % _REPORT)
            return [self._publish(unit) for unit in units.values()]
        finally:
            for unit in units.values():
                unit.discard()

    def _publish(self, unit: _Unit) -> Written:
        """Rename a finished market's files into place, its manifest last."""
        manifest = self._manifest(unit.market)
        before = _read_manifest(manifest)
        manifest.unlink(missing_ok=True)
        for file in before.files if before is not None else ():
            stale = self._inside(file["name"])
            if stale is not None:
                stale.unlink(missing_ok=True)
        files = []
        base = self._root if self._request.partitioned else self._folder
        for path in unit.finish():
            into = base / path.relative_to(unit.folder)
            _own_folder(self._root, *into.parent.relative_to(self._root).parts)
            entry = {"name": into.relative_to(self._root).as_posix(), "bytes": path.stat().st_size}
            files.append({**entry, "sha256": _sha256(path)})
            _settle(path, into)
        written = unit.written(self._asked, files)
        draft = unit.folder / manifest.name
        draft.write_bytes(msgspec.json.format(msgspec.json.encode(written), indent=2) + b"\n")
        _settle(draft, manifest)
        return written


class _Unit:
    """One market of one session while it is written."""

    def __init__(self, request: Request, folder: Path, session: Session, market: str) -> None:
        self._request, self._session, self.market = request, session, market
        self.folder = folder / f"{_PART}{safe_name(market)}"
        self.folder.mkdir()
        self._writer: FormatWriter | None = None
        self._waiting: list[Moment] = []
        self._books = BookDigest()
        self._levels = LevelFollower()
        self._counts: Counter[str] = Counter()
        self._gaps: list[dict[str, Any]] = []
        self._facts: dict[str, Any] = {}

    def write(self, moment: Moment) -> None:
        event = moment.event
        if isinstance(event, GapMark):
            self._counts["gap"] += 1
            self._gaps.append({"recv_ns": moment.recv_ns, **msgspec.structs.asdict(event)})
        else:
            self._counts[type(event).__name__] += 1
            self._books.add(moment.connection, event)
        self._levels.changes(moment)
        if self._writer is not None:
            self._writer.write(moment)
            return
        self._waiting.append(moment)
        if moment.venue_us is not None or len(self._waiting) >= _PATIENCE:
            self._begin()

    def _begin(self) -> None:
        target = Target(
            directory=self.folder,
            stem=safe_name(self.market),
            market=self.market,
            session=self._session.id,
            facts={"schema_version": SCHEMA_VERSION, "kflow_version": __version__},
            began_us=self._waiting[-1].venue_us,
            levels=self._request.levels,
            partitioned=self._request.partitioned,
        )
        self._writer = self._request.format.writer(target)
        for moment in self._waiting:
            self._writer.write(moment)
        self._waiting.clear()

    def finish(self) -> list[Path]:
        """Close the files; those there are."""
        if self._writer is None and self._waiting:
            self._begin()
        digests = {"digest": self._books.hexdigest(), "level_digest": self._levels.digest.hexdigest()}
        self._facts = {**digests, "gaps": self._gaps}
        if self._writer is not None:
            self._writer.close(self._facts)
            self._writer = None
        return sorted(path for path in self.folder.rglob("*") if path.is_file())

    def written(self, request: dict[str, Any], files: list[dict[str, Any]]) -> Written:
        known = {"digest", "level_digest", "gaps"}
        return Written(
            schema_version=SCHEMA_VERSION,
            kflow_version=__version__,
            request=request,
            session=self._session.id,
            market=self.market,
            digest=self._facts["digest"],
            level_digest=self._facts["level_digest"],
            counts=dict(sorted(self._counts.items())),
            gaps=self._gaps,
            facts={name: value for name, value in self._facts.items() if name not in known},
            files=files,
        )

    def discard(self) -> None:
        """Remove what was not published."""
        if self._writer is not None:
            with contextlib.suppress(OSError, KflowError):
                self._writer.close({})
        shutil.rmtree(self.folder, ignore_errors=True)


def _own_folder(root: Path, *names: str) -> Path:
    """A folder below root, made where missing. Raises ConfigError where one on the way leads elsewhere."""
    folder = root
    for name in names:
        folder /= name
        folder.mkdir(exist_ok=True)
        if folder.is_symlink():
            raise ConfigError(f"{folder} is a link that leads out of the export", hint="remove it")
    return folder


def _settle(path: Path, into: Path) -> None:
    """Make a file durable, then give it its name."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    path.replace(into)
    folder = os.open(into.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_manifest(path: Path) -> Written | None:
    """An earlier manifest, or None where there is none that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Written)
    except (OSError, msgspec.MsgspecError):
        return None
