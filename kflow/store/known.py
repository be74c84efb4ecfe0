"""What was recorded, as a data folder remembers it: sessions and their markets, for completion on the command line.

A few lines of JSON that are read without a database. Whoever records a session adds a line, whoever lists sessions
writes them anew; the database is the truth, and what is stale here misleads nobody but for a moment.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

FILE_NAME: Final = "known-sessions.jsonl"
# Bounds of what is kept and read: the newest sessions, the first markets of each.
MOST_SESSIONS: Final = 500
MOST_MARKETS: Final = 1_000
_MOST_BYTES: Final = 1 << 20


class Known(NamedTuple):
    """One session."""

    number: int
    uuid: str
    started_ns: int  # Unix time
    markets: tuple[str, ...]


def remember(folder: Path, session: Known) -> None:
    """Add a session. A folder that cannot be written is no reason to stop what is recorded."""
    with suppress(OSError), (folder / FILE_NAME).open("a", encoding="utf-8") as out:
        out.write(_line(session))


def replace(folder: Path, sessions: Iterable[Known]) -> None:
    """Remember these sessions and no others."""
    path = folder / FILE_NAME
    part = path.with_name(f"{FILE_NAME}.{os.getpid()}")
    newest = sorted(sessions)[-MOST_SESSIONS:]
    with suppress(OSError):
        try:
            part.write_text("".join(map(_line, newest)), encoding="utf-8")
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def known(folder: Path) -> list[Known]:
    """The sessions that are remembered, by number; none where nothing is. A line that is no session is passed over."""
    try:
        with (folder / FILE_NAME).open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _MOST_BYTES))
            lines = file.read(_MOST_BYTES).splitlines()
    except OSError:
        return []
    found = {}
    for line in lines:
        with suppress(ValueError, TypeError, KeyError):
            session = _session(json.loads(line))
            found[session.number] = session
    return [found[number] for number in sorted(found)][-MOST_SESSIONS:]


def _line(session: Known) -> str:
    kept = session._replace(markets=session.markets[:MOST_MARKETS])
    return json.dumps(kept._asdict(), ensure_ascii=False, separators=(",", ":")) + "\n"


def _session(fields: dict[str, Any]) -> Known:
    markets = tuple(map(str, fields["markets"]))
    return Known(int(fields["number"]), str(fields["uuid"]), int(fields["started_ns"]), markets)
