"""What each stage of recording costs beside the plain way to do it, in CPU time, alternating in one run.

    python bench/stages.py [--quick]

decode     bytes -> sequence -> book -> event, against json + Decimal + SortedDict under a lock
receive    loopback socket -> frames, with kflow's connection, with websockets' own, and the bare socket as the floor
write      rows -> committed, client and server together: packed COPY against executemany, at batches of 100 and 1,000,
           and COPY of rows packed beforehand as the floor
start      the embedded PostgreSQL to its first query: on its first day, and when its files are warm
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import measure
import psycopg
import recorders
import websockets
from blast import Feed, framed
from sortedcontainers import SortedDict

from kflow.kalshi.protocol import FeedProtocol
from kflow.kalshi.transport import FastConnection
from kflow.store import copy
from kflow.store.embedded import EmbeddedServer
from kflow.store.migrate import upgrade
from kflow.store.sessions import DAY_NS, ensure_day

CHUNK = 50  # frames that one read of the socket brings under load


# --- decode


def decode_cases(deltas: list[bytes], snapshots: list[bytes]) -> dict[str, Callable[[], int]]:
    def ours() -> int:
        protocol = FeedProtocol(passive=True)
        protocol.receive_all(snapshots)
        for at in range(0, len(deltas), CHUNK):
            protocol.receive_all(deltas[at : at + CHUNK])
        return len(deltas)

    def baseline() -> int:
        books: dict[tuple[str, str], SortedDict] = {}
        for raw in snapshots:
            message = json.loads(raw)["msg"]
            for side in ("yes", "no"):
                levels = {Decimal(p): Decimal(s) for p, s in message[f"{side}_dollars_fp"]}
                books[message["market_ticker"], side] = SortedDict(levels)
        rows = recorders.queue.SimpleQueue()
        for raw in deltas:
            recorders.baseline_apply(books, json.loads(raw), rows)
        return len(deltas)

    return {"decode_ours": ours, "decode_baseline": baseline}


# --- receive


def receive_cases(messages: int) -> dict[str, Callable[[], int]]:
    """Each case has the blast of bench/blast.py in a process of its own, and measures this process alone."""

    def blast() -> tuple[subprocess.Popen[str], int]:
        command = [sys.executable, str(Path(__file__).parent / "blast.py"), "--messages", str(messages)]
        sender = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert sender.stdout is not None
        return sender, int(sender.stdout.readline())

    async def ours(port: int) -> int:
        seen, over = 0, asyncio.Event()

        def take(frames: list[bytes], _wall_ns: int, _mono_ns: int) -> None:
            nonlocal seen
            seen += len(frames)
            if seen >= messages:
                over.set()

        options: dict[str, Any] = {"create_connection": FastConnection, "compression": None, "ping_interval": None}
        connection = await websockets.connect(f"ws://127.0.0.1:{port}", proxy=None, **options)
        connection.deliver_to(take)  # type: ignore[attr-defined]
        await connection.send(SUBSCRIBE)
        await over.wait()
        connection.transport.abort()
        return seen

    async def library(port: int) -> int:
        seen = 0
        connection = await websockets.connect(
            f"ws://127.0.0.1:{port}", proxy=None, compression=None, ping_interval=None, max_size=None
        )
        await connection.send(SUBSCRIBE)
        while seen < messages:
            await connection.recv(decode=False)
            seen += 1
        connection.transport.abort()
        return seen

    def case(client: Callable[[int], Any]) -> Callable[[], int]:
        def run() -> int:
            sender, port = blast()
            try:
                return int(asyncio.run(client(port)))
            finally:
                sender.kill()
                sender.wait()

        return run

    return {"receive_ours": case(ours), "receive_websockets": case(library)}


SUBSCRIBE = json.dumps({"id": 1, "cmd": "subscribe", "params": {"channels": ["orderbook_delta"]}})


def own_cpu(case: Callable[[], int], repeats: int) -> float:
    """Median CPU microseconds of this process alone, per message."""
    figures = []
    for _ in range(repeats):
        begun = time.process_time()
        count = case()
        figures.append((time.process_time() - begun) / count * 1e6)
    return statistics.median(figures)


def bare_socket_us(messages: int, repeats: int) -> float:
    """Reading the same number of bytes with nothing done to them."""
    feed = Feed(200, 7)
    payload = b"".join(framed(feed.delta(1_700_000_000_000_000 + 10 * i)) for i in range(1_000)) * (messages // 1_000)

    def read() -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        sender = os.fork()
        if not sender:
            with listener.accept()[0] as out:
                out.sendall(payload)
            os._exit(0)
        buffer = bytearray(256 * 1024)
        with socket.create_connection(listener.getsockname()) as connection:
            while connection.recv_into(buffer):
                pass
        listener.close()
        os.waitpid(sender, 0)
        return messages

    return own_cpu(read, repeats)


# --- write


def write_us(server: EmbeddedServer, rows: int, repeats: int) -> dict[str, float]:
    """Median CPU microseconds per row of client and server together."""
    with psycopg.connect(server.dsn, autocommit=True) as conn:
        conn.execute("DROP DATABASE IF EXISTS stages")
        conn.execute("CREATE DATABASE stages")
    dsn = psycopg.conninfo.make_conninfo(server.dsn, dbname="stages")
    with psycopg.connect(dsn, autocommit=True) as conn:
        upgrade(conn)
        conn.execute(recorders.BASELINE_TABLE)
        now_ns = time.time_ns() // DAY_NS * DAY_NS
        ensure_day(conn, now_ns)
        deltas = [(now_ns + i, i, i, 100, 500, 1, 1, 1, i % 200, 5000, i % 2, 0) for i in range(rows)]
        plain = [
            (f"KXBENCH-{i % 200}", i, i, "yes", "add", Decimal("0.5"), Decimal(5), Decimal(6)) for i in range(rows)
        ]
        packed = [copy.DELTAS.pack_rows(deltas[at : at + 10_000]) for at in range(0, rows, 10_000)]

        def copied(batch: int) -> None:
            for at in range(0, rows, batch):
                with conn.transaction(), conn.cursor() as cursor:
                    copy.DELTAS.write(cursor, copy.DELTAS.pack_rows(deltas[at : at + batch]))

        def inserted(batch: int) -> None:
            for at in range(0, rows, batch):
                with conn.transaction(), conn.cursor() as cursor:
                    cursor.executemany(recorders.INSERT, plain[at : at + batch])

        def prebuilt() -> None:
            for piece in packed:
                with conn.transaction(), conn.cursor() as cursor:
                    copy.DELTAS.write(cursor, piece)

        cases: dict[str, Callable[[], None]] = {
            "copy_100": lambda: copied(100),
            "executemany_100": lambda: inserted(100),
            "copy_1000": lambda: copied(1_000),
            "executemany_1000": lambda: inserted(1_000),
            "copy_10000": lambda: copied(10_000),
            "prebuilt_10000": prebuilt,
        }
        figures: dict[str, list[float]] = {name: [] for name in cases}
        for _ in range(repeats):
            for name, case in cases.items():
                begun = both_cpu(conn.info.backend_pid)
                case()
                figures[name].append((both_cpu(conn.info.backend_pid) - begun) / rows * 1e6)
    return {name: round(statistics.median(values), 2) for name, values in figures.items()}


def both_cpu(backend: int) -> float:
    """CPU seconds so far of this process and of the server's process that serves it."""
    fields = Path(f"/proc/{backend}/stat").read_text().rpartition(")")[2].split()
    return time.process_time() + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def start_s(repeats: int) -> dict[str, float]:
    cold, warm = [], []
    for _ in range(repeats):
        folder = Path(tempfile.mkdtemp(prefix="kflow-bench-"))
        for times in (cold, warm):
            begun = time.perf_counter()
            with EmbeddedServer.acquire(folder) as server, psycopg.connect(server.dsn) as conn:
                conn.execute("SELECT 1")
                times.append(time.perf_counter() - begun)
    return {"cold": round(statistics.median(cold), 3), "warm": round(statistics.median(warm), 3)}


def main() -> None:
    options = measure.arguments(__doc__ or "", full=7, quick=3).parse_args()
    repeats = measure.repeats(options)
    messages = 50_000 if options.quick else 200_000
    feed = Feed(200, 7)
    snapshots = [text.encode() for text in feed.snapshots()]
    begin_us = time.time_ns() // 1000
    deltas = [feed.delta(begin_us + 10 * i).encode() for i in range(messages)]
    medians = measure.alternate(decode_cases(deltas, snapshots), repeats)
    receive = {name: own_cpu(case, repeats) for name, case in receive_cases(messages).items()}
    receive["receive_bare_socket"] = bare_socket_us(messages, repeats)
    with EmbeddedServer.acquire(Path(tempfile.mkdtemp(prefix="kflow-bench-"))) as server:
        write = write_us(server, 20_000 if options.quick else 100_000, repeats)
    cpu = {name: timing.us_each for name, timing in medians.items()}
    measure.report(
        "stages",
        medians,
        ratio=cpu["decode_baseline"] / cpu["decode_ours"],
        packages=("websockets", "msgspec", "psycopg", "sortedcontainers"),
        receive_us={name: round(value, 3) for name, value in receive.items()},
        write_us=write,
        start_s=start_s(repeats),
        ratios={
            "decode": round(cpu["decode_ours"] / cpu["decode_baseline"], 3),
            "receive": round(receive["receive_ours"] / receive["receive_websockets"], 3),
            "receive_decode": round(
                (receive["receive_ours"] + cpu["decode_ours"])
                / (receive["receive_websockets"] + cpu["decode_baseline"]),
                3,
            ),
            "copy_100": round(write["copy_100"] / write["executemany_100"], 3),
            "copy_1000": round(write["copy_1000"] / write["executemany_1000"], 3),
            "of_the_copy_floor": round(write["prebuilt_10000"] / write["copy_10000"], 3),
        },
    )


if __name__ == "__main__":
    main()
