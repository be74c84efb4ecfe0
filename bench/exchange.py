"""How many frames a second the local exchange serves at full speed, beside a plain `websockets` server.

    python bench/exchange.py [--quick]

Each server is a process of its own on loopback; one raw reader takes the same number of frames from each, in
alternation. "websockets" sends texts made beforehand with `await connection.send(text)`; "exchange, same frames" has
the same flow made beforehand, and numbers and sends it; "exchange" lets a crowd trade through its engines while it
sends, and "with truth" it writes its truth log too; "made only" is that crowd in this process, without any socket. The
ratio is that of the two with the same frames.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
from measure import Timing, alternate, arguments, repeats, report

from kflow.exchange.control import Control
from kflow.exchange.hub import Hub
from kflow.exchange.listing import Listing
from kflow.exchange.market import Venue
from kflow.exchange.messages import Message
from kflow.exchange.scene import SyntheticOptions
from kflow.exchange.serve import serve
from kflow.exchange.server import ExchangeOptions
from kflow.exchange.subscriptions import Subscriptions
from kflow.kalshi.auth import ApiKey
from kflow.testing.pit import play, synthetic
from kflow.testing.venue import LocalVenueProcess

MARKETS = 20
START_US = 1_795_000_000_000_000
LIFETIME_S = 1e6  # no market closes while a run lasts: nobody would have subscribed to the next one
CHANNELS = ["orderbook_delta", "trade", "ticker"]
HANDSHAKE = (
    "GET /trade-api/ws/v2 HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


class Tape:
    """Flow that was made beforehand: its markets, the messages that fill their books, then at least `frames` more."""

    def __init__(self, frames: int) -> None:
        pit, scene = synthetic(SyntheticOptions(markets=MARKETS, lifetime_s=LIFETIME_S), START_US)
        self.listings: list[Listing] = [listing for listing, _ in scene.catalogue.markets]
        opening = len(pit.messages)
        while len(pit.messages) < opening + frames:
            play(scene)
        self.opening: list[Message] = pit.messages[:opening]
        self.messages: list[Message] = pit.messages[opening:]

    def open(self, venue: Venue) -> None:
        venue.list_markets(self.listings)
        venue.apply(self.opening)


def plain_texts(frames: int) -> list[str]:
    """The frames that a subscriber of everything gets."""
    tape, venue = Tape(frames), Venue()
    tape.open(venue)
    subscriptions = Subscriptions(venue)
    subscriptions.command(subscribe(list(venue.markets)))
    return subscriptions.texts(tape.messages, ',"sending_ts_ms":1795000000000')[:frames]


def made(frames: int) -> Callable[[], int]:
    """A case that makes so many messages and sends them nowhere."""
    pit, scene = synthetic(SyntheticOptions(markets=MARKETS, lifetime_s=LIFETIME_S), START_US)

    def run() -> int:
        pit.messages.clear()
        while len(pit.messages) < frames:
            play(scene)
        return len(pit.messages)

    return run


def subscribe(markets: list[str]) -> str:
    params = {"channels": CHANNELS, "market_tickers": markets, "use_yes_price": False}
    return json.dumps({"id": 1, "cmd": "subscribe", "params": params})


def masked(text: str) -> bytes:
    """A client's text frame; a mask of zeros leaves the payload as it is."""
    payload = text.encode()
    return b"\x81\xfe" + len(payload).to_bytes(2, "big") + bytes(4) + payload


def read(port: int, headers: dict[str, str], command: str, frames: int) -> int:
    """Shake hands, subscribe, and take `frames` frames as fast as they come."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        connection.sendall((HANDSHAKE + lines + "\r\n").encode())
        head = connection.recv(4096)
        assert head.startswith(b"HTTP/1.1 101"), head
        connection.sendall(masked(command))
        buffer = bytearray(2**20)
        view = memoryview(buffer)
        taken, tail = 0, b""
        while taken < frames:
            size = connection.recv_into(view)
            assert size, "the server left"
            data = tail + buffer[:size]
            taken += data.count(b'{"type":"') + data.count(b'{"id":1,"type":')
            tail = bytes(data[-8:])
    return taken


def exchange_case(venue: LocalVenueProcess | Ready, frames: int, markets: list[str]) -> Callable[[], int]:
    port = int(venue.ws.split(":")[2].partition("/")[0])

    def run() -> int:
        headers = venue.key.headers("GET", venue.ws, time.time_ns())
        return read(port, headers, subscribe(markets), frames)

    return run


async def serve_plain(frames: int) -> None:
    """The baseline: prints its port, then sends everything to each client that subscribes."""
    from websockets.asyncio import server as plain
    from websockets.exceptions import ConnectionClosed

    texts = plain_texts(frames)

    async def handle(connection: plain.ServerConnection) -> None:
        try:
            await connection.recv()
            for text in texts:
                await connection.send(text)
            await connection.wait_closed()
        except ConnectionClosed:
            pass

    async with plain.serve(handle, "127.0.0.1", 0, compression=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


class Prebuilt:
    """A source whose flow was made beforehand; each client that comes gets it from the beginning."""

    def __init__(self, frames: int) -> None:
        self._tape = Tape(frames)
        self.sids: dict[str, int] = {}

    def prepare(self, control: Control, now_us: int) -> None:  # noqa: ARG002
        venue = control.clearing.venue
        control.clearing.time = lambda: venue.now_us
        venue.lenient = True  # the second client's flow begins on the first one's books
        self._tape.open(venue)

    async def run(self, hub: Hub) -> None:
        while True:
            await hub.listened()
            messages = self._tape.messages
            for start in range(0, len(messages), 500):
                hub.publish(messages[start : start + 500])
                await hub.drained()
                await asyncio.sleep(0)
            with hub.changes() as changed:
                while hub.connections:
                    changed.clear()
                    await changed.wait()


async def serve_prebuilt(frames: int) -> None:
    """Prints its ready line, then serves until it is ended."""
    await serve(ExchangeOptions(source=Prebuilt(frames)), functools.partial(print, flush=True))


class Ready:
    """Where a server of this script listens, and how to sign."""

    def __init__(self, frames_option: list[str]) -> None:
        command = [sys.executable, __file__, "--prebuilt", *frames_option]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        ready = json.loads(self.process.stdout.readline())
        self.rest, self.ws = ready["rest"], ready["ws"]
        self.key = ApiKey.load(ready["key_id"], Path(ready["private_key_path"]))


def cpu_s(process: int) -> float:
    """CPU seconds a process has used; 0 where the system has no /proc."""
    path = Path(f"/proc/{process}/stat")
    if not path.is_file():
        return 0.0
    fields = path.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def counted(case: Callable[[], int], process: int, spent: list[tuple[int, float]]) -> Callable[[], int]:
    """The case, with the server's own CPU time put into `spent`."""

    def run() -> int:
        before = cpu_s(process)
        units = case()
        spent.append((units, cpu_s(process) - before))
        return units

    return run


def listed(venue: LocalVenueProcess | Ready) -> list[str]:
    """Tickers: virtual time decides how markets are called."""
    found = httpx.get(f"{venue.rest}/markets?limit=1000", trust_env=False).json()["markets"]
    return [market["ticker"] for market in found]


def compare(frames: int, rounds: int, quick: list[str]) -> tuple[dict[str, Timing], dict[str, float]]:
    """Medians of every case, and the servers' own CPU microseconds per frame."""
    spent: dict[str, list[tuple[int, float]]] = {}
    flow_options = ("--synthetic", "busy", "--markets", str(MARKETS), "--speed", "max", "--lifetime", str(LIFETIME_S))
    command = [sys.executable, __file__, "--plain", *quick]
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalVenueProcess(*flow_options) as making,
        LocalVenueProcess(*flow_options, "--truth", f"{folder}/truth") as truthful,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as plain,
    ):
        same = Ready(quick)
        try:
            assert plain.stdout is not None
            port = int(plain.stdout.readline())
            everything = subscribe(listed(same))
            cases: dict[str, tuple[Callable[[], int], int]] = {
                "websockets": (lambda: read(port, {}, everything, frames), plain.pid),
                "exchange, same frames": (exchange_case(same, frames, listed(same)), same.process.pid),
            }
            for name, venue in (("exchange", making), ("exchange with truth", truthful)):
                assert venue.process is not None
                cases[name] = (exchange_case(venue, frames, listed(venue)), venue.process.pid)
            cases["made only"] = (made(frames), os.getpid())
            spent = {name: [] for name in cases}
            medians = alternate({n: counted(case, pid, spent[n]) for n, (case, pid) in cases.items()}, rounds)
        finally:
            for process in (same.process, plain):
                process.terminate()
            same.process.communicate()
    cpu = {name: 1e6 * sum(s for _, s in runs) / sum(n for n, _ in runs) for name, runs in spent.items()}
    return medians, cpu


def main() -> None:
    parser = arguments("Frames per second of the local exchange.", full=9, quick=3)
    parser.add_argument("--plain", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--prebuilt", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    frames = 100_000 if options.quick else 300_000
    if options.plain or options.prebuilt:
        asyncio.run(serve_plain(frames) if options.plain else serve_prebuilt(frames))
        return
    medians, cpu = compare(frames, repeats(options), ["--quick"] if options.quick else [])
    report(
        "exchange",
        medians,
        medians["exchange, same frames"].per_s / medians["websockets"].per_s,
        packages=("websockets", "uvicorn", "msgspec"),
        server_cpu_us_per_frame={name: round(us, 2) for name, us in cpu.items()},
    )


if __name__ == "__main__":
    main()
