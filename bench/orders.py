"""Orders a second that the exchange takes: over REST beside its bare server stack, in process beside its engine.

    python bench/orders.py [--quick]

REST: each server is a process of its own on loopback; one client has 1, 8 and 32 requests in flight, each on a
connection that is kept alive. It creates orders that rest, then cancels them, all signed, with Ed25519 and with RSA
keys. "stack" is the same uvicorn and Starlette with the same routes, which reads the body and answers a constant of the
same size: no key, no order. Signatures are made before the clock starts. Rates are requests per second of the clock and
of the server's own CPU time; the ratio is that of the CPU rates of Ed25519 and the stack, 8 in flight.

In process: commands through the desk (accounts, collateral, fees, documents, messages and the public book), beside the
bare engine. "filled" counts both orders of a trade.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import functools
import itertools
import json
import os
import selectors
import socket
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import uvicorn
from measure import Timing, alternate, arguments, repeats, report
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kflow.exchange.matching import OrderBook
from kflow.exchange.orders import Order
from kflow.exchange.serve import serve
from kflow.exchange.server import ExchangeOptions
from kflow.exchange.source import MatchedSource
from kflow.exchange.terms import Terms
from kflow.kalshi.auth import ApiKey
from kflow.market.events import Side
from kflow.testing.pit import Pit
from kflow.testing.venue import MARKET, listing, some_levels
from kflow.units import CONTRACT, Money, Price, Size

PATH = "/trade-api/v2/portfolio/events/orders"
IN_FLIGHT = (1, 8, 32)
SERVERS = ("stack", "Ed25519", "RSA")
RICH = Money(10**15)
# What the exchange answers to a create and a cancel, in bytes.
CREATED, CANCELED = 206, 160


# --- the servers


async def serve_exchange(*, rsa: bool) -> None:
    source = MatchedSource([listing()], {MARKET: some_levels()})
    options = ExchangeOptions(source=source, terms=Terms(tier="unlimited", cash=RICH), rsa=rsa)
    await serve(options, functools.partial(print, flush=True))


async def serve_stack() -> None:
    """The baseline, with the settings of the exchange's own server. Prints its ready line."""

    def answers(method: str, path: str, status: int, size: int) -> Route:
        body = b'{"order_id":"' + b"0" * (size - 15) + b'"}'

        async def answer(request: Request) -> Response:
            await request.body()
            return Response(body, status, media_type="application/json")

        return Route(path, answer, methods=[method])

    routes = [answers("POST", PATH, 201, CREATED), answers("DELETE", PATH + "/{order_id}", 200, CANCELED)]
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    print(json.dumps({"rest": f"http://127.0.0.1:{listener.getsockname()[1]}/trade-api/v2"}), flush=True)
    settings = {
        "log_config": None,
        "access_log": False,
        "lifespan": "off",
        "date_header": False,
        "proxy_headers": False,
    }
    config = uvicorn.Config(Starlette(routes=routes), server_header=False, **settings)  # type: ignore[arg-type]
    await uvicorn.Server(config).serve(sockets=[listener])


class Server:
    """One of them in a process of its own. The stack is asked with a key that nobody checks."""

    def __init__(self, kind: str) -> None:
        command = [sys.executable, __file__, "--serve", kind]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        ready = json.loads(self.process.stdout.readline())
        self.url = ready["rest"].removesuffix("/trade-api/v2")
        self.port = int(self.url.rpartition(":")[2])
        self.key: ApiKey | None = None
        if "key_id" in ready:
            self.key = ApiKey.load(ready["key_id"], Path(ready["private_key_path"]))

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        self.process.terminate()
        self.process.communicate()


# --- the client


def request(key: ApiKey, method: str, path: str, body: bytes = b"") -> bytes:
    headers = key.headers(method, "http://127.0.0.1" + path, time.time_ns())
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *[f"{name}: {value}" for name, value in headers.items()]]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def create(key: ApiKey, number: int) -> bytes:
    """An order that rests, somewhere below the best bid."""
    body = {
        "ticker": MARKET,
        "side": "bid",
        "price": f"0.{number % 35 + 1:02d}00",
        "count": "1.00",
        "time_in_force": "good_till_canceled",
        "self_trade_prevention_type": "taker_at_cross",
        "client_order_id": str(uuid.uuid4()),
    }
    return request(key, "POST", PATH, json.dumps(body).encode())


class Line:
    """One connection: a request at a time. `taken`: the bodies of its answers."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent_ns = 0
        self._data = b""

    def send(self, message: bytes) -> None:
        self.sent_ns = time.perf_counter_ns()
        self.socket.sendall(message)

    def take(self) -> bytes | None:
        """Read what is there: the whole answer's body, or None while some of it is missing."""
        data = self._data = self._data + self.socket.recv(65_536)
        head, found, body = data.partition(b"\r\n\r\n")
        if not found:
            return None
        size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) < size:
            return None
        assert head[9:10] == b"2", data
        self._data = b""
        return body


def exchange_all(lines: Sequence[Line], messages: Sequence[bytes]) -> tuple[list[bytes], list[int], float]:
    """Send every message, as many at once as there are lines: answers, round trips in ns, seconds it took in all."""
    waiting = iter(messages)
    bodies: list[bytes] = []
    trips: list[int] = []
    with selectors.DefaultSelector() as selector:
        for line in lines:
            selector.register(line.socket, selectors.EVENT_READ, line)
        begun = time.perf_counter()
        for line, message in zip(lines, itertools.islice(waiting, len(lines)), strict=True):
            line.send(message)
        while len(bodies) < len(messages):
            for ready, _ in selector.select():
                body = ready.data.take()
                if body is None:
                    continue
                trips.append(time.perf_counter_ns() - ready.data.sent_ns)
                bodies.append(body)
                if following := next(waiting, None):
                    ready.data.send(following)
        return bodies, trips, time.perf_counter() - begun


@dataclasses.dataclass
class Run:
    """Creates and as many cancels of one server, with so many in flight."""

    requests: int
    wall_s: float
    cpu_s: float  # the server's
    trips_us: tuple[list[float], list[float]]  # of creates, of cancels


def run_pairs(server: Server, key: ApiKey, in_flight: int, pairs: int) -> Run:
    """Signing is left out of both clocks."""
    lines = [Line(server.port) for _ in range(in_flight)]
    signer = server.key or key
    creates = [create(signer, number) for number in range(pairs)]
    before = server.cpu_s()
    bodies, created, wall_s = exchange_all(lines, creates)
    cpu_s = server.cpu_s() - before
    ids = [json.loads(body)["order_id"] for body in bodies]
    cancels = [request(signer, "DELETE", f"{PATH}/{order_id}") for order_id in ids]
    before = server.cpu_s()
    _, canceled, more_s = exchange_all(lines, cancels)
    cpu_s += server.cpu_s() - before
    for line in lines:
        line.socket.close()
    return Run(2 * pairs, wall_s + more_s, cpu_s, ([ns / 1e3 for ns in created], [ns / 1e3 for ns in canceled]))


def timing(runs: Sequence[Run]) -> Timing:
    rates = [run.requests / run.wall_s for run in runs]
    return Timing(
        units=runs[0].requests,
        wall_s=statistics.median(run.wall_s for run in runs),
        cpu_s=statistics.median(run.cpu_s for run in runs),
        per_s=statistics.median(rates),
        per_cpu_s=sum(run.requests for run in runs) / sum(run.cpu_s for run in runs),  # the system counts in 10 ms
        per_s_least=min(rates),
        per_s_most=max(rates),
    )


def percentiles(runs: Sequence[Run]) -> dict[str, float]:
    """Of the round trips of all runs, in µs."""
    found: dict[str, float] = {}
    for place, kind in enumerate(("create", "cancel")):
        trips = sorted(trip for run in runs for trip in run.trips_us[place])
        found |= {f"{kind}_p{q}": round(trips[len(trips) * q // 100], 1) for q in (50, 99)}
    return found


def over_rest(rounds: int, pairs: int) -> tuple[dict[str, Timing], dict[str, dict[str, float]]]:
    """Medians and round trips by server and number in flight."""
    servers: dict[str, Server] = {}
    try:
        servers = {kind: Server(kind) for kind in SERVERS}
        key = servers["Ed25519"].key
        assert key is not None
        cases = [(kind, in_flight) for in_flight in IN_FLIGHT for kind in SERVERS]
        runs: dict[tuple[str, int], list[Run]] = {case: [] for case in cases}
        for kind in SERVERS:
            run_pairs(servers[kind], key, 8, 100)
        for turn in range(rounds):
            first = turn % len(cases)
            for case in cases[first:] + cases[:first]:
                runs[case].append(run_pairs(servers[case[0]], key, case[1], pairs))
    finally:
        for server in servers.values():
            server.stop()
    names = {case: f"{case[0]}, {case[1]} in flight" for case in cases}
    return {names[c]: timing(r) for c, r in runs.items()}, {names[c]: percentiles(r) for c, r in runs.items()}


# --- in process


def in_process(commands: int) -> dict[str, Callable[[], int]]:
    pit = Pit(books={MARKET: some_levels()})
    maker, taker = (pit.desk.open_account(name, RICH) for name in ("maker", "taker"))
    book = OrderBook(listing().grid)
    prices = [Price(100 + 100 * place) for place in range(35)]

    def rested() -> int:
        pit.messages.clear()
        orders = [pit.place(maker, Side.YES, f"0.{place % 35 + 1:02d}00", "1.00") for place in range(commands // 2)]
        for order in orders:
            pit.desk.cancel(maker, order.order_id)
            pit.desk.flush()
        return 2 * len(orders)

    def filled() -> int:
        pit.messages.clear()
        for _ in range(commands // 2):
            pit.bid(maker, "0.4500", "1.00")
            assert pit.take(taker, Side.NO, "0.4500", "1.00").filled == CONTRACT
        return commands // 2 * 2

    def engine() -> int:
        orders = [Order(Side.YES, prices[place % 35], Size(100)) for place in range(commands // 2)]
        for order in orders:
            book.submit(order)
        for order in orders:
            book.cancel(order)
        return 2 * len(orders)

    return {"desk, rested and canceled": rested, "desk, filled": filled, "engine alone": engine}


def main() -> None:
    parser = arguments("Orders per second of the local exchange.", full=7, quick=3)
    parser.add_argument("--serve", choices=SERVERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve_stack() if options.serve == "stack" else serve_exchange(rsa=options.serve == "RSA"))
        return
    pairs = 300 if options.quick else 1_000
    medians, trips = over_rest(repeats(options), pairs)
    medians |= alternate(in_process(2_000 if options.quick else 10_000), repeats(options))
    for name, figures in trips.items():
        print(f"{name:24} {figures} us")
    ratio = medians["Ed25519, 8 in flight"].per_cpu_s / medians["stack, 8 in flight"].per_cpu_s
    report("orders", medians, ratio, packages=("uvicorn", "starlette", "cryptography"), round_trip_us=trips)


if __name__ == "__main__":
    main()
