"""A recorded session comes back over a socket as it came in."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from kflow.errors import DataError
from kflow.exchange.recorded import RecordedOptions, RecordedSource
from kflow.kalshi.protocol import FeedProtocol
from kflow.replay.serve import write_frames
from kflow.replay.verify import verify
from kflow.session.digest import BookDigest
from kflow.store import sessions
from kflow.store.postgres import Connection
from kflow.testing.client import RawClient, client
from kflow.testing.venue import LocalVenue

from .conftest import MARKETS, Flow, Script, Stored

Store = Callable[..., Stored]


def recording(conn: Connection, stored: Stored, folder: Path) -> tuple[Path, tuple[int, int]]:
    [session] = sessions.read_sessions(conn, [stored.id])
    path = folder / "frames.jsonl.gz"
    return path, write_frames(session, path)


def test_frames_are_written_byte_for_byte(conn: Connection, store: Store, tmp_path: Path) -> None:
    sent = [Flow(1).take(60), Flow(2).take(30)]
    broken = [b"not json", b'{"type":"trade"}\n{}', b'{"a":"\xff"}']
    stored = store(Script([[*sent[0], *broken], sent[1]]))
    path, counts = recording(conn, stored, tmp_path)
    assert counts == (len(sent[0]) + len(sent[1]), 3)
    with gzip.open(path, "rb") as file:
        lines = file.read().splitlines()
    assert [line.split(b'"frame":', 1)[1][:-1] for line in lines] == [*sent[0], *sent[1]]
    assert [json.loads(line)["conn"] for line in lines] == [1] * len(sent[0]) + [2] * len(sent[1])
    stamps = [json.loads(line)["recv_ns"] for line in lines]
    assert stamps == sorted(stamps)


def test_a_session_without_frames_cannot_be_served(conn: Connection, store: Store, tmp_path: Path) -> None:
    stored = store(Script([[]]))
    with pytest.raises(DataError, match="holds no frames"):
        recording(conn, stored, tmp_path)


async def receive(raw: RawClient, count: int) -> list[bytes]:
    await raw.subscribe(*MARKETS, channels=("orderbook_delta", "trade", "ticker"), use_yes_price=False)
    frames: list[bytes] = []
    while len(frames) < count:
        try:
            frame = await raw.raw()
        except ConnectionClosed:
            break
        frames.append(frame.encode() if isinstance(frame, str) else frame)
    return frames


async def test_a_client_sees_the_books_that_were_recorded(conn: Connection, store: Store, tmp_path: Path) -> None:
    """Over as many connections as it took; acknowledgements are those of the client's own commands."""
    stored = store(Script([Flow(1).take(200), Flow(2).take(100)]))
    path, _ = recording(conn, stored, tmp_path)
    wanted = verify(conn, stored.id)
    digest = BookDigest()
    async with LocalVenue(source=RecordedSource(RecordedOptions(path=path, speed=None, grace_s=0.02))) as venue:
        for number, count in enumerate((205, 105), 1):
            async with client(venue) as raw:
                protocol = FeedProtocol(passive=True)
                for frame in await receive(raw, count):
                    digest.add(number, protocol.receive(frame))
                assert protocol.gaps == []
    found: dict[str, Any] = {"deltas": 0, "snapshots": 0}
    assert digest.hexdigest() == wanted.digest_journal
    found |= {"deltas": digest.deltas, "snapshots": digest.snapshots}
    assert found == {kind: wanted.journal[kind] for kind in ("deltas", "snapshots")}
