"""A recorded session as a live feed: its frames, byte for byte, over the local exchange's own sockets."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from kflow.errors import DataError, Unrepresentable
from kflow.exchange import serve as serving
from kflow.exchange.listing import Listing, SeriesListing
from kflow.exchange.recorded import RecordedOptions, RecordedSource
from kflow.exchange.server import ExchangeOptions
from kflow.market.fees import FeeSchedule
from kflow.market.times import US_PER_S
from kflow.session.chunks import MarketFacts
from kflow.store.journal import RecordKind
from kflow.store.journal_reader import JournalReader
from kflow.store.sessions import Session

# A frame that is JSON may stand in a line of JSON as it is; one that is not cannot be sent again as a message.
_IS_JSON: Final = msgspec.json.Decoder(msgspec.Raw).decode
_REPORT: Final = 20_000


def write_frames(session: Session, path: Path, *, progress: Callable[[int], None] = lambda _: None) -> tuple[int, int]:
    """Write a session's frames as a recording, {"recv_ns", "conn", "frame"} a line, gzipped: written and left out.

    Left out are frames that are no JSON. Raises JournalError where the journal is gone, DataError for no frames.
    """
    written = left_out = 0
    with gzip.open(path, "wb", compresslevel=1) as file:
        for record in JournalReader(Path(session.journal_dir)).records():
            if record.kind != RecordKind.FRAME:
                continue
            if not _fits(record.payload):
                left_out += 1
                continue
            head = b'{"recv_ns":%d,"conn":%d,"frame":' % (record.wall_ns, record.connection)
            file.write(head + record.payload + b"}\n")
            written += 1
            if written % _REPORT == 0:
                progress(_REPORT)
    progress(written % _REPORT)
    if not written:
        raise DataError(f"session {session.id} holds no frames", hint="kflow sessions ls shows what was recorded")
    return written, left_out


def _fits(payload: bytes) -> bool:
    if b"\n" in payload or b"\r" in payload:
        return False
    try:
        _IS_JSON(payload)
        payload.decode()
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False
    return True


def recorded_source(
    recording: Path, speed: float | None, session: Session | None = None, *, waits: bool = True
) -> RecordedSource:
    """What plays a recording; of a session its markets are listed with the facts it began with.

    Raises ConfigError, DataError, JournalError.
    """
    facts = [] if session is None else _facts(session)
    series = [_series(entry) for entry in facts if entry.series_ticker is not None and _has_fees(entry)]
    listings = {entry.ticker: _listing(entry) for entry in facts if _is_whole(entry)}
    return RecordedSource(RecordedOptions(path=recording, speed=speed, waits=waits, series=series, listings=listings))


def _facts(session: Session) -> list[MarketFacts]:
    """What REST said of a session's markets when it began."""
    for record in JournalReader(Path(session.journal_dir)).records():
        if record.kind == RecordKind.MARKETS:
            return msgspec.json.decode(record.payload, type=list[MarketFacts])
        if record.kind == RecordKind.FRAME:
            break
    return []


def _has_fees(facts: MarketFacts) -> bool:
    """Whether the fees are known, and of a kind that has a formula; others are taken to be the usual ones."""
    try:
        FeeSchedule.parse(facts.fee_type or "", facts.fee_multiplier or "")
    except Unrepresentable:
        return False
    return True


def _is_whole(facts: MarketFacts) -> bool:
    """Whether a market can be listed by its facts; else what its frames tell must do."""
    return facts.open_time is not None and facts.close_time is not None and bool(facts.price_ranges)


def _series(facts: MarketFacts) -> SeriesListing:
    ticker = str(facts.series_ticker)
    multiplier = float(facts.fee_multiplier or 1)
    return SeriesListing(ticker=ticker, title=ticker, fee_type=str(facts.fee_type), fee_multiplier=multiplier)


def _listing(facts: MarketFacts) -> Listing:
    assert facts.open_time is not None, "asked before"
    assert facts.close_time is not None, "asked before"
    info = facts.info
    return Listing(
        ticker=facts.ticker,
        event=facts.event_ticker or facts.ticker.rpartition("-")[0] or facts.ticker,
        series=facts.series_ticker or facts.ticker.partition("-")[0],
        title=_text(info, "title") or facts.ticker,
        open_us=_us(facts.open_time),
        close_us=_us(facts.close_time),
        structure=_text(info, "price_level_structure") or "linear_cent",
        yes_sub_title=_text(info, "yes_sub_title"),
        strike_type=_text(info, "strike_type") or "between",
        floor_strike=_number(info, "floor_strike"),
        cap_strike=_number(info, "cap_strike"),
        price_ranges=tuple(facts.price_ranges),
    )


def _text(info: Mapping[str, Any], name: str) -> str:
    value = info.get(name)
    return value if isinstance(value, str) else ""


def _number(info: Mapping[str, Any], name: str) -> float | None:
    value = info.get(name)
    return float(value) if isinstance(value, int | float) else None


def _us(moment: datetime) -> int:
    return round(moment.timestamp() * US_PER_S)


async def serve(
    recording: Path,
    speed: float | None,
    options: ExchangeOptions,
    announce: Callable[[str], None],
    *,
    session: Session | None = None,
    waits: bool = True,
    until_end: bool = False,
) -> None:
    """Play a recording (see `write_frames`) of a session until told to stop; `speed` None: as fast as clients read.

    Each connection of the session is a connection again: clients are closed where it was lost. Raises PortTaken,
    ConfigError, DataError.
    """
    source = recorded_source(recording, speed, session, waits=waits)
    await serving.serve(replace(options, source=source), announce, until_end=until_end)
