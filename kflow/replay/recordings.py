"""Recordings that lie in files: kflow's journals and exports, frames as received, and two layouts of others.

What a path holds is told by its content:
- a journal folder of `kflow ingest`;
- a folder or file of `kflow replay export` (parquet, jsonl, csv);
- `*.jsonl[.gz]` whose lines are `{"recv_ns", "conn", "frame"}`: frames as the venue sent them;
- a folder of `deltas.parquet`, `segments.json.gz` and `tickers.parquet`: gap-free segments with their first books;
- `*.csv[.gz]` of orders entered and cancelled (columns Time, Operation, OrderId, Side, Volume, Price).
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from kflow.errors import ConfigError, DataError, UsageError
from kflow.kalshi.protocol import FeedProtocol
from kflow.market.events import GapKind, Other
from kflow.market.grid import Grid
from kflow.replay.formats import FORMATS
from kflow.replay.load import GapMark, Moment, moments_of_chunk
from kflow.replay.stretches import CHANNEL, INFERRED, UNKNOWN, RawStretch, read_stretches
from kflow.session.chunks import MarketFacts, read_chunks
from kflow.store.journal_reader import JournalReader

_EXPORTS: Final = {".parquet": "parquet", ".jsonl": "jsonl", ".csv": "csv"}


@dataclass(slots=True)
class Recording:
    """What a recording holds, before it is put into columns."""

    source: str  # as results name it
    stretches: dict[str, list[RawStretch]]
    trades: str  # how they are known: see `stretches`
    grids: dict[str, Grid] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)  # by market: fees, close, result


def fingerprint(path: Path) -> str:
    """SHA-256 of a file, or of a folder's files and their names. Raises ConfigError where it cannot be read."""
    whole = hashlib.sha256()
    try:
        files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
        for file in files:
            whole.update(file.relative_to(path).as_posix().encode() + b"\0")
            with file.open("rb") as data:
                whole.update(hashlib.file_digest(data, "sha256").digest())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", hint="check --from") from None
    return whole.hexdigest()


def read_recording(path: Path) -> Recording:
    """Read all of it. Raises UsageError (there is no such path or layout), ConfigError, DataError, JournalError."""
    if not path.exists():
        raise UsageError(f"there is no recording {path}", hint="check --from")
    return _reader(path)(path)


def inside(path: Path) -> list[Path]:
    """The path, or the recordings in a folder of some that are a file each. Raises ConfigError."""
    if not path.is_dir() or _of_folder(path) is not None:
        return [path]
    return [file for file in sorted(path.iterdir()) if file.is_file() and _of_one_file(file)] or [path]


def _of_folder(path: Path) -> Callable[[Path], Recording] | None:
    if any(path.glob("*.kfj")):
        return _journal
    return _segments if (path / "segments.json.gz").is_file() else None


def _of_one_file(path: Path) -> Callable[[Path], Recording] | None:
    first = _first_bytes(path)
    if first.startswith(b'{"recv_ns"'):
        return _frames
    return _orders if path.name.removesuffix(".gz").endswith(".csv") and first.startswith(b"Time,") else None


def _reader(path: Path) -> Callable[[Path], Recording]:
    if path.is_dir():
        if (reader := _of_folder(path)) is not None:
            return reader
        if any(file.suffix in _EXPORTS for file in path.rglob("*")):
            return _export
    elif (reader := _of_one_file(path)) is not None:
        return reader
    elif path.suffix in _EXPORTS:
        return _export
    raise UsageError(
        f"{path} is no recording that kflow reads", hint="a journal, an export, frames or segments: docs/replay.md"
    )


def _segments(path: Path) -> Recording:
    from kflow.replay import segments

    return segments.read(path)


def _orders(path: Path) -> Recording:
    from kflow.replay import entered

    return entered.read(path)


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A file, gzipped or plain. Raises ConfigError where it cannot be read, also while it is."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield file  # type: ignore[misc]
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


def _first_bytes(path: Path) -> bytes:
    with opened(path) as file:
        return file.read(16)


# Journals.


def _journal(path: Path) -> Recording:
    found = Recording(str(path), {}, "")
    facts: dict[str, MarketFacts] = {}

    def moments() -> Iterator[Moment]:
        for chunk in read_chunks(JournalReader(path)):
            if isinstance(chunk.mark, list):
                facts.update({market.ticker: market for market in chunk.mark})
            yield from moments_of_chunk(chunk)

    found.stretches, found.trades = read_stretches(moments())
    found.grids = {name: Grid.parse(market.price_ranges) for name, market in facts.items() if market.price_ranges}
    found.facts = {name: _told(market) for name, market in facts.items()}
    return found


def _told(market: MarketFacts) -> dict[str, Any]:
    close = market.close_time
    return {
        "fee_type": market.fee_type,
        "fee_multiplier": market.fee_multiplier,
        "close_us": None if close is None else int(close.timestamp() * 1e6),
    }


# Exports.


def _export(path: Path) -> Recording:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.suffix in _EXPORTS]
    kinds = {file.suffix for file in files}
    if len(kinds) > 1:
        raise UsageError(f"{path} holds exports in several formats", hint="name one file, or a folder of one format")
    form = FORMATS[_EXPORTS[kinds.pop()]]
    found = Recording(str(path), {}, UNKNOWN)
    for together in _by_market(files):
        try:
            stretches, how = read_stretches(moment for file in together for moment in form.read([file]))
        except (KeyError, ValueError, msgspec.MsgspecError) as error:
            why = f"it has no {_plain(error.args[0])}" if isinstance(error, KeyError) else error
            raise DataError(
                f"{together[0]} is no export of kflow: {why}", hint="kflow replay export writes them"
            ) from None
        for market, more in stretches.items():
            found.stretches.setdefault(market, []).extend(more)
        found.trades = max(found.trades, how, key=(UNKNOWN, INFERRED, CHANNEL).index)
    return found


def _plain(name: object) -> object:
    return name.decode() if isinstance(name, bytes) else name


def _by_market(files: Sequence[Path]) -> Iterator[list[Path]]:
    """Files that go on from one another: a market's days in folders `session=/market=/date=`; else each alone."""
    for _, together in groupby(sorted(files), lambda file: file.parents[1] if "date=" in file.parent.name else file):
        yield list(together)


# Frames.


class _Line(msgspec.Struct):
    recv_ns: int
    frame: msgspec.Raw


class _Subscribed(msgspec.Struct):
    sid: int


class _Frame(msgspec.Struct):
    type: str
    msg: msgspec.Raw = msgspec.Raw(b"{}")


def _frames(path: Path) -> Recording:
    stretches, how = read_stretches(_frame_moments(path))
    return Recording(str(path), stretches, how)


def _frame_moments(path: Path) -> Iterator[Moment]:
    """Frames through the very protocol that records; a sid that is subscribed anew is a new connection."""
    connection, protocol, sids = 1, FeedProtocol(passive=True), set[int]()
    number = 0
    try:
        with opened(path) as file:
            for number, text in enumerate(file, 1):  # noqa: B007 - an error names the line
                line = msgspec.json.decode(text, type=_Line)
                frame = msgspec.json.decode(line.frame, type=_Frame)
                if frame.type == "subscribed":
                    sid = msgspec.json.decode(frame.msg, type=_Subscribed).sid
                    if sid in sids:
                        mark = GapMark(GapKind.DISCONNECT.value, None, None, None, None, None, "subscribed anew")
                        yield Moment(connection, line.recv_ns, None, mark)
                        connection, protocol, sids = connection + 1, FeedProtocol(passive=True), set()
                    sids.add(sid)
                yield from _received(protocol, connection, line)
    except msgspec.MsgspecError as error:
        raise DataError(f"{path}, line {number}: {error}", hint='each line is {"recv_ns": …, "frame": {…}}') from None


def _received(protocol: FeedProtocol, connection: int, line: _Line) -> Iterator[Moment]:
    from kflow.session.chunks import Chunk

    protocol.now_ns = line.recv_ns
    events = protocol.receive_all([bytes(line.frame)])
    gaps, protocol.gaps = protocol.gaps, []
    known = [event for event in events if not isinstance(event, Other)]
    yield from moments_of_chunk(Chunk(connection, line.recv_ns, line.recv_ns, 0, 0, list(known), gaps))
