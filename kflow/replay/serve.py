"""A recorded session as a live feed: its frames, byte for byte, over the local exchange's own sockets."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from kflow.errors import DataError
from kflow.exchange import serve as serving
from kflow.exchange.recorded import RecordedOptions, RecordedSource
from kflow.exchange.server import ExchangeOptions
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


async def serve(
    recording: Path,
    speed: float | None,
    options: ExchangeOptions,
    announce: Callable[[str], None],
    *,
    until_end: bool = False,
) -> None:
    """Play a recording (see `write_frames`) until told to stop; `speed` None: as fast as clients read.

    Each connection of the session is a connection again: clients are closed where it was lost. Raises PortTaken,
    ConfigError, DataError.
    """
    source = RecordedSource(RecordedOptions(path=recording, speed=speed))
    await serving.serve(replace(options, source=source), announce, until_end=until_end)
