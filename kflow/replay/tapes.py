"""Tapes of sessions and of recordings in files, compiled once and kept under the data folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from kflow.errors import ConfigError, DataError, Unrepresentable
from kflow.market.fees import FeeSchedule
from kflow.market.grid import Grid
from kflow.replay import recordings
from kflow.replay.load import Moment, Pick, Source, read_moments, session_markets
from kflow.replay.recordings import Recording
from kflow.replay.stretches import CHANNEL, INFERRED, build_tape, nothing_in, read_stretches, wanted
from kflow.sim import cache
from kflow.sim.tape import Tape
from kflow.store import sessions
from kflow.store.postgres import Connection
from kflow.store.sessions import Session, StoredMarket
from kflow.units import CONTRACT

Progress = Callable[[int], None]
# Markets of a session that are read in one pass over it: their events wait in memory.
_PER_PASS: Final = 32
_REPORT: Final = 10_000


@dataclass(slots=True)
class Shelf:
    """Where tapes are kept. `made` and `kept`: how many were compiled, and how many lay there already."""

    root: Path
    rebuild: bool = False
    progress: Progress = lambda _: None
    made: int = 0
    kept: int = 0
    # Markets that hold nothing to be simulated on, and why.
    empty: dict[str, str] = field(default_factory=dict)

    def of_file(self, path: Path, markets: Sequence[str] | None = None) -> list[Tape]:
        """Tapes of a recording in files. Raises what `recordings.read_recording` does, and UsageError for a market."""
        source = cache.key_of(file=recordings.fingerprint(path))
        index = self._index(source)
        if index is None:
            recording = recordings.read_recording(path)
            index = self._store(source, recording, {"source": path.name})
        return self._take(path.name, index, markets)

    def of_files(self, paths: Sequence[Path], markets: Sequence[str] | None = None) -> list[Tape]:
        """Tapes of recordings and of folders of some; each market asked for has to be in one of them at least."""
        each = dict.fromkeys(file for path in paths for file in recordings.inside(path.resolve()))
        whole = {path: self.of_file(path) for path in each}
        tapes = {tape.facts["digest"]: tape for kept in whole.values() for tape in kept}  # a copy counts once
        chosen = set(wanted({tape.market for tape in tapes.values()} | self.empty.keys(), markets))
        return [tape for tape in tapes.values() if tape.market in chosen]

    def of_sessions(
        self, conn: Connection, numbers: Sequence[int], markets: Sequence[str] | None, source: Source
    ) -> list[Tape]:
        """Tapes of recorded sessions. Raises UsageError, DataError (a sampled session's tables), DatabaseError."""
        tapes: list[Tape] = []
        held = {session.id: session_markets(conn, session.id) for session in sessions.read_sessions(conn, numbers)}
        asked = set(wanted({market for names in held.values() for market in names}, markets))
        for session in sessions.read_sessions(conn, numbers):
            chosen = [name for name in held[session.id] if name in asked]
            for at in range(0, len(chosen), _PER_PASS):
                tapes += self._of_session(conn, session, chosen[at : at + _PER_PASS], source)
        return tapes

    def _of_session(self, conn: Connection, session: Session, names: Sequence[str], source: Source) -> list[Tape]:
        state = sessions.read_watermark(conn, session.id)
        known = {market.ticker: market for market in sessions.read_markets(conn, [session.id])}
        results = {name: known[name].result for name in names}
        key = cache.key_of(session=str(session.uuid), offset=state, markets=names, source=source, results=results)
        index = self._index(key)
        if index is None:
            moments = read_moments(conn, session, Pick(markets=frozenset(names)), source=source)
            stretches, how = read_stretches(self._counted(moments))
            recording = Recording(f"session {session.id}", stretches, how)
            recording.grids = {n: Grid.parse(m.price_ranges) for n, m in known.items() if m.price_ranges}
            recording.facts = {name: _facts(known[name]) for name in names}
            facts = {"source": f"session {session.id}", "session": session.id, "environment": session.environment}
            index = self._store(key, recording, facts)
        return self._take(f"session {session.id}", index, None)

    def _counted(self, moments: Iterator[Moment]) -> Iterator[Moment]:
        seen = 0
        for moment in moments:
            yield moment
            seen += 1
            if seen % _REPORT == 0:
                self.progress(_REPORT)
        self.progress(seen % _REPORT)

    def _index(self, source: str) -> _Index | None:
        """What a source holds, if it is kept whole."""
        if self.rebuild:
            return None
        try:
            index = msgspec.json.decode((self.root / f"{source}.json").read_bytes(), type=_Index)
        except (OSError, msgspec.MsgspecError):
            return None
        return index if all(cache.load(self.root, key) is not None for key in index.tapes.values()) else None

    def _store(self, source: str, recording: Recording, facts: Mapping[str, Any]) -> _Index:
        index = _Index({}, {})
        for market, raw in sorted(recording.stretches.items()):
            told = {**facts, **recording.facts.get(market, {})}
            try:
                tape = build_tape(market, raw, recording.trades, recording.grids.get(market), told)
            except DataError as error:
                index.empty[market] = str(error)
                continue
            index.tapes[market] = cache.key_of(source=source, market=market)
            cache.save(tape, self.root, index.tapes[market])
            self.made += 1
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft = self.root / f".{source}.{os.getpid()}"
            draft.write_bytes(msgspec.json.encode(index))
            draft.replace(self.root / f"{source}.json")
        except OSError as error:
            raise ConfigError(f"cannot write to {self.root}: {error.strerror}", hint="free disk space") from None
        return index

    def _take(self, source: str, index: _Index, markets: Sequence[str] | None) -> list[Tape]:
        chosen = wanted(index.tapes.keys() | index.empty.keys(), markets)
        self.empty.update({name: why for name, why in index.empty.items() if name in chosen})
        kept = [cache.load(self.root, index.tapes[name]) for name in chosen if name in index.tapes]
        tapes = [tape for tape in kept if tape is not None]
        if not tapes and markets is not None:
            raise nothing_in(source)
        self.kept += len(tapes)
        return tapes


class _Index(msgspec.Struct):
    """Of one source: the key of each market's tape, and of markets that hold nothing to be simulated on, why."""

    tapes: dict[str, str]
    empty: dict[str, str]


def _facts(market: StoredMarket) -> dict[str, Any]:
    close = market.close_time
    return {
        "fee_type": market.fee_type,
        "fee_multiplier": None if market.fee_multiplier is None else str(market.fee_multiplier),
        "close_us": None if close is None else int(close.timestamp() * 1e6),
        "result": market.result,
        "settlement_value_e4": market.settlement_value_e4,
    }


def fees_of(tape: Tape) -> tuple[FeeSchedule, str]:
    """How a tape's market charges, and where that is from."""
    kind, multiplier = tape.facts.get("fee_type"), tape.facts.get("fee_multiplier")
    if kind is None:
        return FeeSchedule.parse("quadratic", 1), "quadratic x 1: assumed, the recording does not say"
    try:
        return FeeSchedule.parse(kind, multiplier or 1), f"{kind} x {multiplier or 1}: recorded"
    except Unrepresentable:
        return FeeSchedule.parse("quadratic", 1), f"quadratic x 1: assumed, {kind} has no published formula"


def known_by(tapes: Sequence[Tape]) -> list[str]:
    """How their trades are known, in words; inferred ones with how well they explain the ticker's volume."""
    kinds = sorted({tape.facts["trades"] for tape in tapes})
    return [_known(kind, [tape.facts for tape in tapes if tape.facts["trades"] == kind]) for kind in kinds]


def _known(kind: str, tapes: Sequence[Mapping[str, Any]]) -> str:
    intervals = sum(facts["trades_intervals"] for facts in tapes)
    if kind == INFERRED and intervals:
        return f"{kind}, {sum(facts['trades_exact'] for facts in tapes) / intervals:.2%} of ticker intervals exact"
    printed = sum(facts["trades_printed"] for facts in tapes)
    return f"{kind}, {printed / CONTRACT:,.0f} contracts without a removal" if kind == CHANNEL and printed else kind
