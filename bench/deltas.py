"""Stream 20,000 deltas a second from live matching to one client for a minute: what is held, how late, at what cost.

    python bench/deltas.py [--quick] [--seconds 60] [--rate 20000]

`kflow exchange serve` lets its crowd trade in one process at a rate; this one subscribes to every order book, decodes
each frame and holds its seq against the one before. Lag is read at the moment at which a frame has been decoded, by
both ends' one clock: since it was sent (`sending_ts_ms`, cut to the millisecond: up to 1 ms too much), and since it was
due (its venue time; the exchange's clock began some time before it, so the least of all counts as 0). The ratio is
deltas received per delta asked for; CPU is per delta, of each process.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import time
from array import array
from pathlib import Path
from typing import Any

import httpx
import msgspec
import websockets
from measure import Timing, arguments, report

from kflow.kalshi.transport import FastConnection
from kflow.market.times import parse_rfc3339_us
from kflow.testing.venue import LocalVenueProcess

MARKETS = 20
DELTAS = 0.93  # of all messages of made-up markets, at least: the others are trades and tickers
LIFETIME_S = 1e6  # no market closes: nobody would have subscribed to the next one
WARM_S = 1.0
IS_DELTA = re.compile(rb'\{"type":"orderbook_delta"').match


class Body(msgspec.Struct, gc=False):
    market_ticker: str
    price_dollars: str
    delta_fp: str
    side: str
    ts: str


class Delta(msgspec.Struct, gc=False):
    sid: int
    seq: int
    msg: Body
    sending_ts_ms: int


class Reader:
    """Takes frames: counts deltas, gaps in seq, and how late each was."""

    def __init__(self) -> None:
        self._decode = msgspec.json.Decoder(Delta).decode
        self._seq: int | None = None
        self._ts, self._ts_us = "", 0
        self.gaps = 0
        self.sent_ms, self.venue_us, self.taken_us = array("q"), array("q"), array("q")

    def take(self, frames: list[bytes], _wall_ns: int, _mono_ns: int) -> None:
        for frame in frames:
            if not IS_DELTA(frame):  # an ack or a first snapshot; both take a seq
                self._seq = json.loads(frame).get("seq", self._seq)
                continue
            delta = self._decode(frame)
            self.gaps += self._seq is not None and delta.seq != self._seq + 1
            self._seq = delta.seq
            if delta.msg.ts != self._ts:
                self._ts, self._ts_us = delta.msg.ts, parse_rfc3339_us(delta.msg.ts)
            self.sent_ms.append(delta.sending_ts_ms)
            self.venue_us.append(self._ts_us)
            self.taken_us.append(time.time_ns() // 1000)


def cpu_s(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def spread(values: list[int]) -> dict[str, float]:
    """Milliseconds from values in µs."""
    values = sorted(values)
    found = {f"p{q}": values[int(len(values) * q / 100)] / 1e3 for q in (50, 99, 99.9)}
    return {**found, "most": values[-1] / 1e3}


async def stream(venue: LocalVenueProcess, seconds: float) -> tuple[Timing, dict[str, Any]]:
    assert venue.process is not None
    async with httpx.AsyncClient(trust_env=False) as http:
        listed = (await http.get(f"{venue.rest}/markets?limit=1000")).json()["markets"]
    reader = Reader()
    options: dict[str, Any] = {"create_connection": FastConnection, "compression": None, "proxy": None}
    headers = venue.key.headers("GET", venue.ws, time.time_ns())
    async with websockets.connect(venue.ws, additional_headers=headers, **options) as connection:
        connection.deliver_to(reader.take)  # type: ignore[attr-defined]
        params = {"channels": ["orderbook_delta"], "market_tickers": [market["ticker"] for market in listed]}
        await connection.send(json.dumps({"id": 1, "cmd": "subscribe", "params": params}))
        await asyncio.sleep(WARM_S)
        first, begun, cpu, own = (
            len(reader.taken_us),
            time.perf_counter(),
            cpu_s(venue.process.pid),
            time.process_time(),
        )
        await asyncio.sleep(seconds)
        last, wall_s = len(reader.taken_us), time.perf_counter() - begun
        cpu, own = cpu_s(venue.process.pid) - cpu, time.process_time() - own
        connection.transport.abort()
    taken, sent, due = (values[first:last] for values in (reader.taken_us, reader.sent_ms, reader.venue_us))
    since_due = [at - venue_us for at, venue_us in zip(taken, due, strict=True)]
    least = min(since_due)
    seconds_of = itertools.groupby(taken, lambda us: (us - taken[0]) // 1_000_000)
    rates = [sum(1 for _ in group) for _, group in seconds_of][: int(wall_s)]
    held = (last - first) / wall_s
    timing = Timing(last - first, wall_s, cpu, held, (last - first) / cpu, min(rates), max(rates))
    return timing, {
        "gaps": reader.gaps,
        "lag_since_sent_ms": spread([at - 1000 * ms for at, ms in zip(taken, sent, strict=True)]),
        "lag_since_due_ms": spread([us - least for us in since_due]),
        "server_cpu_share": cpu / wall_s,
        "client_cpu_share": own / wall_s,
        "client_cpu_us_per_delta": 1e6 * own / (last - first),
    }


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--seconds", type=float, default=None)
    parser.add_argument("--rate", type=float, default=20_000.0, help="deltas a second")
    options = parser.parse_args()
    seconds = options.seconds or (5.0 if options.quick else 60.0)
    flow = ("--synthetic", "busy", "--markets", str(MARKETS), "--lifetime", str(LIFETIME_S))
    with LocalVenueProcess(*flow, "--rate", str(options.rate / DELTAS)) as venue:
        timing, figures = asyncio.run(stream(venue, seconds))
    for name, value in figures.items():
        print(f"{name:24} {value}")
    report("deltas", {"deltas": timing}, timing.per_s / options.rate, packages=("websockets", "msgspec"), **figures)


if __name__ == "__main__":
    main()
