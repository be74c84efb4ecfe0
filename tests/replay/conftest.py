"""A synthetic session: frames as the venue writes them, a journal of them, and its tables."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from kflow.market.events import GapKind
from kflow.market.times import format_rfc3339_us
from kflow.record.session import write_card
from kflow.record.writer import SessionWriter, load_journal
from kflow.session.chunks import Closed, Hole, MarketFacts, Opened
from kflow.store import sessions
from kflow.store.journal import JournalWriter, RecordKind
from kflow.store.journal_reader import JournalReader
from kflow.store.postgres import Connection
from kflow.store.sessions import NewSession
from kflow.testing.postgres import Database
from kflow.units import format_price, format_size

T0_NS = 1_767_225_600_000_000_000  # 2026-01-01T00:00:00Z
MARKETS = ("KXT-26JAN01-A", "KXT-26JAN01-B")
CENTS = [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}]


class Flow:
    """The venue's half of one connection: consistent frames, seeded."""

    def __init__(self, seed: int = 1, *, markets: Sequence[str] = MARKETS, start_ns: int = T0_NS) -> None:
        self._random = random.Random(seed)
        self._markets = markets
        self._books: dict[str, tuple[dict[int, int], dict[int, int]]] = {}
        self._us = start_ns // 1000
        self.seq = 0

    def opening(self) -> list[bytes]:
        """Acks, then a first book of each market."""
        acks = [("orderbook_delta", 1), ("trade", 2), ("ticker", 3)]
        frames = [
            _frame({"type": "subscribed", "id": n, "msg": {"channel": channel, "sid": sid}})
            for n, (channel, sid) in enumerate(acks, 1)
        ]
        return frames + [self.snapshot(market) for market in self._markets]

    def snapshot(self, market: str) -> bytes:
        pick = self._random.randint
        book = self._books.setdefault(
            market,
            (
                {pick(1, 40) * 100: pick(1, 5000) for _ in range(8)},
                {pick(1, 40) * 100: pick(1, 5000) for _ in range(8)},
            ),
        )
        return self._snapshot(market, book)

    def emptied(self, market: str) -> bytes:
        """The book is gone, as at a market's close."""
        self._books[market] = ({}, {})
        return self._snapshot(market, self._books[market])

    def _snapshot(self, market: str, book: tuple[dict[int, int], dict[int, int]]) -> bytes:
        body: dict[str, object] = {"market_ticker": market, "market_id": "9b0f6b43-5b68-4f9f-9f02-9a2d1b8ac1a1"}
        for name, side in (("yes_dollars_fp", book[0]), ("no_dollars_fp", book[1])):
            if side:
                body[name] = [[format_price(p), format_size(s)] for p, s in sorted(side.items())]
        return self._sequenced("orderbook_snapshot", body)

    def delta(self, market: str | None = None) -> bytes:
        choose = self._random
        market = market or choose.choice(self._markets)
        side = choose.randint(0, 1)
        levels = self._books[market][side]
        price = choose.choice(sorted(levels)) if levels and choose.random() < 0.6 else choose.randint(1, 49) * 100
        before = levels.get(price, 0)
        change = choose.choice([-before, choose.randint(-before, 3000), choose.randint(1, 3000)]) or 100
        levels[price] = before + change
        if not levels[price]:
            del levels[price]
        if choose.random() < 0.7:
            self._us += choose.randint(1, 90_000)
        body = {
            "market_ticker": market,
            "market_id": "9b0f6b43-5b68-4f9f-9f02-9a2d1b8ac1a1",
            "price_dollars": format_price(price),
            "delta_fp": format_size(change),
            "side": ("yes", "no")[side],
            "ts": format_rfc3339_us(self._us),
            "ts_ms": self._us // 1000,
        }
        return self._sequenced("orderbook_delta", body)

    def trade(self) -> bytes:
        n = self._random.randint(1, 10**9)
        body = {
            "market_ticker": self._random.choice(self._markets),
            "trade_id": f"00000000-0000-4000-8000-{n:012d}",
            "yes_price_dollars": "0.4400",
            "count_fp": format_size(n % 5000 + 1),
            "taker_outcome_side": ("yes", "no")[n % 2],
            "ts_ms": self._us // 1000,
        }
        return _frame({"type": "trade", "sid": 2, "seq": n, "msg": body})

    def ticker(self) -> bytes:
        body = {"market_ticker": self._markets[0], "price_dollars": "0.4400", "ts_ms": self._us // 1000}
        return _frame({"type": "ticker", "sid": 3, "msg": body})

    def take(self, count: int) -> list[bytes]:
        """The opening, then `count` frames of all kinds."""
        frames, choose = self.opening(), self._random
        trades = 0
        for _ in range(count):
            kind = choose.random()
            if kind < 0.9:
                frames.append(self.delta())
            elif kind < 0.94:
                trades += 1
                frames.append(_numbered(self.trade(), trades))
            elif kind < 0.97:
                frames.append(self.ticker())
            else:
                frames.append(self.snapshot(choose.choice(self._markets)))
        return frames

    def _sequenced(self, kind: str, body: dict[str, object]) -> bytes:
        self.seq += 1
        return _frame({"type": kind, "sid": 1, "seq": self.seq, "msg": body})


def _numbered(raw: bytes, seq: int) -> bytes:
    return _frame({**json.loads(raw), "seq": seq})


def _frame(message: dict[str, object]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()


@dataclass
class Script:
    """What a journal is made of: the frames of each connection, cut into chunks of these lengths."""

    connections: list[list[bytes]]
    start_ns: int = T0_NS
    ends: bool = True  # the end of each connection is recorded
    chunk: Callable[[int], int] = field(default=lambda n: 1 + n % 7)
    facts: Sequence[MarketFacts] = tuple(MarketFacts(ticker=market, price_ranges=CENTS) for market in MARKETS)


def write_journal(directory: Path, script: Script, *, segment_bytes: int = 2**26) -> JournalWriter:
    """A recorder's journal of a script: marks, frames, and a recorded hole between connections."""
    journal = JournalWriter(directory, uuid4(), segment_bytes=segment_bytes)
    now = script.start_ns
    journal.append_record(RecordKind.MARKETS, 0, now, now, msgspec.json.encode(script.facts))
    for number, frames in enumerate(script.connections, 1):
        if number > 1:
            hole = Hole(GapKind.DISCONNECT, now, now + 10**9, "cut")
            now += 10**9
            journal.append_record(RecordKind.GAP, number - 1, now, now, msgspec.json.encode(hole))
        opened = msgspec.json.encode(Opened("ws://127.0.0.1:1/trade-api/ws/v2"))
        journal.append_record(RecordKind.CONNECTED, number, now, now, opened)
        at = turn = 0
        while at < len(frames):
            length = script.chunk(turn)
            now += 1_000_003
            journal.append_frames(number, now, now, frames[at : at + length])
            at, turn = at + length, turn + 1
        if script.ends:
            journal.append_record(RecordKind.DISCONNECTED, number, now, now, msgspec.json.encode(Closed("cut")))
    journal.sync()
    return journal


def write_truth(directory: Path, connections: Sequence[Sequence[bytes]]) -> None:
    """The exchange's log of the same: its own numbers, no marks of ours."""
    truth = JournalWriter(directory, uuid4())
    now = T0_NS
    # What belongs to no socket: an order that was taken, and a fault of its answer.
    truth.append_record(RecordKind.TRADING, 0, now, now, b'{"fill":{},"user":"u"}')
    truth.append_record(RecordKind.FAULT, 0, now, now, b'{"fault":"lost_ack","number":1}')
    for number, frames in enumerate(connections, 41):
        truth.append_record(RecordKind.CONNECTED, number, now, now, b'{"key_id":"k"}')
        for at in range(0, len(frames), 10):
            now += 900_000
            truth.append_frames(number, now, now, frames[at : at + 10])
        truth.append_record(RecordKind.DISCONNECTED, number, now, now, b'{"reason":"a fault cut it"}')
    truth.close()


@pytest.fixture
def conn(database: Database) -> Iterator[Connection]:
    with database.connect(autocommit=True) as connection:
        yield connection


@dataclass
class Stored:
    """A session in the database."""

    id: int
    directory: Path


@pytest.fixture
def store(conn: Connection, tmp_path: Path) -> Callable[..., Stored]:
    """Writes a script's journal and loads it as `kflow ingest` does; gives the session."""

    def make(script: Script, *, sample_rate: int = 1, name: str = "journal", segment_bytes: int = 2**26) -> Stored:
        directory = tmp_path / name
        journal = write_journal(directory, script, segment_bytes=segment_bytes)
        journal.close()
        card = NewSession(
            uuid=journal.session,
            started_ns=script.start_ns,
            environment="local",
            use_yes_price=False,
            sample_rate=sample_rate,
            kflow_version="0.1.0",
            host="here",
            journal_dir=str(directory),
            selection={"markets": list(MARKETS)},
        )
        write_card(directory, card)
        number = sessions.create_session(conn, card)
        load_journal(SessionWriter(conn, number, sample_rate=sample_rate), JournalReader(directory))
        sessions.close_session(conn, number, T0_NS + 10**12)
        return Stored(number, directory)

    return make
