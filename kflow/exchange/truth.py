"""The exchange's own record of what it wrote to every socket, to hold a recorder's journal against.

It is a journal (kflow/store/journal.py): FRAME is a text frame's payload as written, COMMAND a command as it came,
CONNECTED and DISCONNECTED a socket's ends, FAULT an injected fault as JSON. The connection is the exchange's own
counter, from 1; what belongs to no socket has 0.

TRADING is what happened to accounts, whoever heard of it, as JSON with one of these keys: `command` (an order command
that REST carried out, with the request and its answer), `fill` or `user_order` (the message of that channel, with the
`user` it is for).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import uuid4

import msgspec

from kflow.clock import Clock
from kflow.exchange.messages import FILL, USER_ORDERS, Message
from kflow.store.journal import JournalWriter, RecordKind


class TruthLog:
    """Writes the truth into a directory. Without one it only counts."""

    def __init__(self, clock: Clock, directory: Path | None = None) -> None:
        """Raises JournalError where the directory cannot be written or holds a journal already."""
        self._clock = clock
        self._journal = None if directory is None else JournalWriter(directory, uuid4())
        self.frames_written = 0

    def frames(self, connection: int, payloads: Sequence[bytes]) -> None:
        self.frames_written += len(payloads)
        if self._journal is not None:
            self._journal.append_frames(connection, self._clock.wall_ns(), self._clock.mono_ns(), payloads)

    def command(self, connection: int, payload: bytes) -> None:
        self._record(RecordKind.COMMAND, connection, payload)

    def connected(self, connection: int, key_id: str) -> None:
        self._record(RecordKind.CONNECTED, connection, msgspec.json.encode({"key_id": key_id}))

    def disconnected(self, connection: int, reason: str) -> None:
        self._record(RecordKind.DISCONNECTED, connection, msgspec.json.encode({"reason": reason}))

    def fault(self, connection: int, fact: Mapping[str, object]) -> None:
        self._record(RecordKind.FAULT, connection, msgspec.json.encode(fact))

    @property
    def keeps(self) -> bool:
        """Whether anything is written."""
        return self._journal is not None

    def trading(self, fact: Mapping[str, object]) -> None:
        self._record(RecordKind.TRADING, 0, msgspec.json.encode(fact))

    def published(self, messages: Sequence[Message]) -> None:
        """Keep what the trading half says of accounts."""
        if self._journal is None:
            return
        for message in messages:
            if message.channel in (FILL, USER_ORDERS):
                self.trading({"user": message.account, message.kind: msgspec.Raw(message.body.encode())})

    def _record(self, kind: RecordKind, connection: int, payload: bytes) -> None:
        if self._journal is not None:
            wall_ns, mono_ns = self._clock.wall_ns(), self._clock.mono_ns()
            self._journal.append_record(kind, connection, wall_ns, mono_ns, payload)

    def sync(self) -> None:
        if self._journal is not None:
            self._journal.sync()

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()
            self._journal = None
