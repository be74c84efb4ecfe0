"""The two recorders that bench/ingest.py compares, each run as a process of its own:

    python bench/recorders.py ours|baseline --url ws://… --dsn … --messages N

`ours` is kflow's session with the default transport. `baseline` is what one writes in an afternoon: websockets, json,
Decimal, SortedDict under a lock, a queue, and a thread that inserts 100 rows at a time with executemany into the table
of the requirements (text tickers, serial key, three more b-trees: what the older system had); it has no journal.
Each ends with a line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import queue
import resource
import tempfile
import threading
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import websockets
from sortedcontainers import SortedDict


def cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


# --- kflow


async def ours(url: str, dsn: str, messages: int, *, latencies: bool = False) -> dict[str, Any]:
    from kflow.clock import SystemClock
    from kflow.kalshi.auth import ApiKey, write_new_key
    from kflow.record.recorder import Plan
    from kflow.record.session import RecordingOptions, RecordingSession, new_card
    from kflow.session.chunks import MarketFacts
    from kflow.store import postgres

    folder = Path(tempfile.mkdtemp(prefix="kflow-bench-"))
    write_new_key(folder / "key.pem")
    key = ApiKey.load("bench", folder / "key.pem")
    clock, root = SystemClock(), folder / "journal"
    card = new_card(
        environment="local", use_yes_price=False, sample_rate=1, selection={}, clock=clock, journal_root=root
    )
    grid = [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}]
    plan = Plan(markets=(MarketFacts("KXBENCH-26NOV22-B00000", grid),))
    session = RecordingSession(
        root,
        plan,
        lambda: postgres.connect(dsn, autocommit=True),
        card=card,
        clock=clock,
        options=RecordingOptions(),
    )
    session.begin()
    watch = Latencies(session) if latencies else None
    source = session.feed(url, key)
    feed = asyncio.create_task(source.run())
    counts = session.recorder.status.messages
    while not counts["BookDelta"]:
        await asyncio.sleep(0.001)
    begun, cpu = time.perf_counter(), cpu_s()
    while counts["BookDelta"] < messages:
        await asyncio.sleep(0.002)
        if source.status.reason:
            raise SystemExit(f"the connection ended after {counts['BookDelta']} messages: {source.status.reason}")
    received = time.perf_counter() - begun
    assert session.writer is not None
    feed.cancel()
    await asyncio.gather(feed, return_exceptions=True)
    stored = await session.end(within_s=120)
    return {
        "stored": stored,
        "received_s": received,
        "durable_s": time.perf_counter() - begun,
        "cpu_s": cpu_s() - cpu,
        "journal_bytes": session.journal.offset,
        "overflows": session.handoff.overflows,
        **(watch.figures() if watch else {}),
    }


class Latencies:
    """Wraps a recorder's chunk handler: time to handle, and from the sender's stamp to applied."""

    def __init__(self, session: Any) -> None:
        self.handle_us: list[float] = []
        self.applied_us: list[float] = []
        self.floor_us: list[float] = []
        recorder = session.recorder
        inner = recorder.received

        def received(frames: list[bytes], wall_ns: int, mono_ns: int) -> None:
            begun = time.perf_counter_ns()
            inner(frames, wall_ns, mono_ns)
            ended = time.perf_counter_ns()
            per_frame = (ended - begun) / 1e3 / len(frames)
            self.handle_us.extend([per_frame] * len(frames))
            sent_us = _stamp_us(frames[-1])
            if sent_us is not None:
                self.floor_us.append(wall_ns / 1e3 - sent_us)
                self.applied_us.append(time.time_ns() / 1e3 - sent_us)

        recorder.received = received

    def figures(self) -> dict[str, Any]:
        return {
            "handle_us": quantiles(self.handle_us),
            "sent_to_read_us": quantiles(self.floor_us),
            "sent_to_applied_us": quantiles(self.applied_us),
        }


def _stamp_us(frame: bytes) -> int | None:
    """The sender's clock in a delta, from its fixed place at the end of the frame."""
    if b'"ts_ms"' not in frame:
        return None
    micros = int(frame[frame.rindex(b'Z"') - 6 : frame.rindex(b'Z"')])
    millis = int(frame[frame.rindex(b":") + 1 : -2])
    return millis // 1000 * 1_000_000 + micros


def quantiles(values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    ordered = sorted(values)
    shares = {"p50": 0.5, "p99": 0.99, "p999": 0.999}
    return {name: round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1) for name, share in shares.items()}


# --- the baseline

BASELINE_TABLE = """
CREATE TABLE baseline_deltas (
    id bigserial PRIMARY KEY,
    market_ticker text NOT NULL,
    timestamp_ms bigint NOT NULL,
    sequence_number bigint NOT NULL,
    side text NOT NULL,
    action text NOT NULL,
    price numeric NOT NULL,
    old_size numeric NOT NULL,
    new_size numeric NOT NULL
);
CREATE INDEX ON baseline_deltas (market_ticker, timestamp_ms);
CREATE INDEX ON baseline_deltas (market_ticker, sequence_number);
CREATE INDEX ON baseline_deltas (timestamp_ms);
"""
INSERT = (
    "INSERT INTO baseline_deltas"
    " (market_ticker, timestamp_ms, sequence_number, side, action, price, old_size, new_size)"
    " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"
)


LOCK = threading.RLock()  # readers of the books are on other threads


class BaselineWriter(threading.Thread):
    """Takes up to 100 rows from the queue and inserts them."""

    def __init__(self, dsn: str) -> None:
        super().__init__()
        self.rows: queue.Queue[tuple[Any, ...] | None] = queue.Queue()
        self._conn = psycopg.connect(dsn)

    def run(self) -> None:
        ended = False
        while not ended:
            batch = [self.rows.get()]
            while len(batch) < 100 and batch[-1] is not None:
                try:
                    batch.append(self.rows.get_nowait())
                except queue.Empty:
                    break
            if batch[-1] is None:
                ended = True
                batch.pop()
            with self._conn.cursor() as cursor:
                cursor.executemany(INSERT, batch)
            self._conn.commit()


async def baseline(url: str, dsn: str, messages: int) -> dict[str, Any]:
    with psycopg.connect(dsn) as conn:
        conn.execute(BASELINE_TABLE)
    writer = BaselineWriter(dsn)
    writer.start()
    books: dict[tuple[str, str], SortedDict] = {}
    begun = cpu = 0.0
    seen = 0
    async with websockets.connect(url, ping_interval=None) as connection:
        await connection.send(json.dumps({"id": 1, "cmd": "subscribe", "params": {"channels": ["orderbook_delta"]}}))
        async for raw in connection:
            frame = json.loads(raw)
            if frame["type"] == "orderbook_snapshot":
                for side in ("yes", "no"):
                    levels = frame["msg"].get(f"{side}_dollars_fp", [])
                    books[frame["msg"]["market_ticker"], side] = SortedDict({Decimal(p): Decimal(s) for p, s in levels})
            elif frame["type"] == "orderbook_delta":
                if not seen:
                    begun, cpu = time.perf_counter(), cpu_s()
                seen += 1
                baseline_apply(books, frame, writer.rows)
                if seen >= messages:
                    break
        received = time.perf_counter() - begun
        writer.rows.put(None)
        await asyncio.to_thread(writer.join)
        durable = time.perf_counter() - begun
        return {"stored": True, "received_s": received, "durable_s": durable, "cpu_s": cpu_s() - cpu}


def baseline_apply(books: dict[tuple[str, str], SortedDict], frame: dict[str, Any], rows: Any) -> None:
    msg = frame["msg"]
    price, change = Decimal(msg["price_dollars"]), Decimal(msg["delta_fp"])
    book = books[msg["market_ticker"], msg["side"]]
    with LOCK:
        before = book.get(price, Decimal(0))
        after = before + change
        if after > 0:
            book[price] = after
        else:
            book.pop(price, None)
    action = "add" if before == 0 else "remove" if after <= 0 else "update"
    rows.put((msg["market_ticker"], msg["ts_ms"], frame["seq"], msg["side"], action, price, before, after))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("which", choices=["ours", "baseline"])
    parser.add_argument("--url", required=True)
    parser.add_argument("--dsn", required=True)
    parser.add_argument("--messages", type=int, required=True)
    parser.add_argument("--latencies", action="store_true", help="measure each chunk, which costs a little")
    options = parser.parse_args()
    if options.which == "ours":
        run = ours(options.url, options.dsn, options.messages, latencies=options.latencies)
    else:
        run = baseline(options.url, options.dsn, options.messages)
    print(json.dumps(asyncio.run(run)), flush=True)
