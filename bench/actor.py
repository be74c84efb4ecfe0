"""An actor that acts at random while everything goes wrong that may (reliability.md, rows 27 to 43), from one seed.

    python bench/actor.py --minutes 30               # real time
    python bench/actor.py --hours 24 --fast          # as fast as this machine can (kflow/testing/fast.py)

A local exchange, as far away as the venue, and an actor that reaches it by a line that can be cut: real sockets, real
signatures, a real database, all in one process. Faults come one after another; now and then the actor holds still,
until its orders, fills, positions and cash are the exchange's own, or count as mismatches; now and then it is killed.
Ends in a line of JSON; exit code 1 where anything is not as it has to be.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import psycopg
from measure import machine

from kflow.act import kill as killing
from kflow.act.kalshi import KalshiVenue
from kflow.act.kill import Groups
from kflow.act.lease import LeaseLost
from kflow.act.reconcile import HALTING
from kflow.act.reconcile import Kind as Difference
from kflow.act.standing import Standing
from kflow.clock import Clock, SystemClock
from kflow.exchange.faults import Fault, Kind
from kflow.kalshi.auth import ApiKey
from kflow.kalshi.environments import Environment, endpoints
from kflow.kalshi.trading import TradingClient
from kflow.store.embedded import EmbeddedServer
from kflow.testing.actor import Ground, Restless
from kflow.testing.actor import field as battlefield
from kflow.testing.fast import FastClock
from kflow.testing.postgres import TestServer

# The server of the tests: its disk is not what is tried here.
_FAST: Final = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
_DAY_US: Final = 86_400_000_000
_POST: Final = b"POST /trade-api/v2/portfolio/events/orders HTTP"
# What somebody else does to the account halts a market, and is no mismatch.
_OTHERS: Final = frozenset({Difference.EXTERNAL_ORDER, Difference.EXTERNAL_FILL})
_FAULTS_A_ROUND: Final = 12
_ROUNDS_A_LEASE: Final = 5  # the others end with a kill
# A request that was under way when the halt was written.
_UNDER_WAY_NS: Final = 100_000_000


@dataclass
class Tally:
    """What came of it."""

    faults: Counter[str] = field(default_factory=Counter)
    checks: int = 0
    mismatches: list[str] = field(default_factory=list)
    twice: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    flat_ms: list[float] = field(default_factory=list)
    verified_ms: list[float] = field(default_factory=list)
    after_kill: int = 0
    not_flat: int = 0
    runs: int = 0
    halted_ms: list[float] = field(default_factory=list)  # after a lease was lost
    latency_us: list[int] = field(default_factory=list)
    decisions: int = 0
    fills: int = 0
    denied: Counter[str] = field(default_factory=Counter)


class Storm:
    """One fault after another."""

    def __init__(self, ground: Ground, clock: Clock, rng: random.Random, every_s: float) -> None:
        self.ground, self.clock, self.rng, self.every_s = ground, clock, rng, every_s
        self.tally = Tally()
        self._kinds: dict[str, Callable[[], Awaitable[None]]] = {
            "27 ack lost": self._ack_lost,
            "27 ack late": self._ack_late,
            "28 lost before": self._lost_before,
            "29 HTTP error": self._http_error,
            "30 nonsense": self._nonsense,
            "31 cancel": self._cancel,
            "31 renewal": self._renewal,
            "31 fill first": self._fill_first,
            "32 fills twice": self._fills_twice,
            "32 fills turned about": self._fills_turned,
            "32 stream cut at a fill": self._stream_cut,
            "32 a fill that is not told": self._fill_lost,
            "33 somebody else trades": self._somebody_else,
            "34 no way": self._no_way,
            "34 black hole": self._black_hole,
            "35 pause": self._pause,
            "38 policy fails": self._policy_fails,
            "39 policy stalls": self._policy_stalls,
            "9 frames lost": self._frames_lost,
            "reads fail": self._reads_fail,
        }

    def inject(self, kind: Kind, **terms: Any) -> None:
        self.ground.exchange.injector.add(Fault(kind=kind, **terms))

    async def run(self, seconds: float) -> None:
        """Until so much time has passed; then everything comes to an end in order."""
        until_ns = self.clock.mono_ns() + round(seconds * 1e9)
        await self._start()
        rounds = 0
        while self.clock.mono_ns() < until_ns:
            names = list(self._kinds)
            self.rng.shuffle(names)
            for name in names[:_FAULTS_A_ROUND]:
                self.tally.faults[name] += 1
                await self._kinds[name]()
                await self.clock.sleep(self.rng.expovariate(1 / self.every_s))
            await self.check()
            rounds += 1
            if rounds % _ROUNDS_A_LEASE == 0:
                await self._lease_lost()
            else:
                await self._killed()
            self._tell(seconds - (until_ns - self.clock.mono_ns()) / 1e9)
        await self.check()
        await self._stop()

    def _tell(self, passed_s: float) -> None:
        tally, intents = self.tally, len(self.ground.watch.asked)
        done = f"{intents:,} intents, {tally.checks} checks, {len(tally.mismatches)} mismatches"
        print(f"{passed_s / 60:7.1f} min: {done}, {sum(tally.kills.values())} kills", flush=True)

    async def _start(self) -> None:
        await self.ground.start()
        self.tally.runs += 1

    async def _stop(self) -> None:
        """In order: then nothing is open, and what is known is the truth."""
        self._count()
        await self.ground.stop()
        self._note("after its end", self.ground.differences())
        if self.ground.account.open_count:
            self._note("after its end", [f"{self.ground.account.open_count} orders rest"])

    def _count(self) -> None:
        """What a run has come to."""
        tally, actor = self.tally, self.ground.actor.actor
        tally.latency_us += actor.tally.latency_us
        tally.decisions += actor.tally.decisions
        tally.fills += actor.tally.fills
        tally.denied.update({str(k): v for k, v in actor.tally.guard.by_reason().items() if v})

    def _note(self, when: str, differences: list[str]) -> None:
        for text in differences:
            print(f"MISMATCH {when}: {text}", flush=True)
            self.tally.mismatches.append(f"{when}: {text}")

    async def check(self) -> None:
        """Hold still until the actor's word is the exchange's."""
        Restless.resting = True
        self._note("check", await self.ground.quiet())
        self.tally.checks += 1
        state = self.ground.actor.state
        for difference in state.differences:
            if difference.kind in HALTING - _OTHERS:
                self._note(f"found {difference.kind}", [f"{difference.market} {difference.subject} {difference.text}"])
        state.differences = []
        self.tally.twice = len(self.ground.twice())
        overall = self.ground.standing.now().overall
        if overall.standing is not Standing.ACTIVE:
            self._note("halted", [overall.reason])
        self.ground.arm()  # markets where somebody else traded
        Restless.resting = False

    # Kills.

    async def _killed(self) -> None:
        """While it trades and things go wrong."""
        await self.ground.traded(5, within_s=600)
        name = self.rng.choice(["ack lost", "ack late", "HTTP error", "pause", "cancel", "nothing"])
        if name != "nothing":
            found = next(kind for kind in self._kinds if kind.endswith(name))
            self.tally.faults[found] += 1
            await self._kinds[found]()
        way = self.rng.choice(["kflow kill", "file KILL", "loss limit"])
        self.tally.kills[way] += 1
        began_ns, flat = self.clock.mono_ns(), asyncio.ensure_future(self._flat())
        await {"kflow kill": self._kflow_kill, "file KILL": self._kill_file, "loss limit": self._loss_limit}[way]()
        halted_ns = self.clock.mono_ns() if way == "loss limit" else began_ns
        await self.clock.sleep(3.0)
        flat.cancel()
        open_until_ns = self._open_until_ns
        if self.ground.account.open_count:
            self.tally.not_flat += 1
            print(f"NOT FLAT after {way} during {name}", flush=True)
        self.tally.flat_ms.append(max(open_until_ns - halted_ns, 0) / 1e6)
        late = [a for a in self.ground.watch.arrived if a.mono_ns > halted_ns + _UNDER_WAY_NS]
        self.tally.after_kill += len(late)
        if late:
            print(f"AFTER {way} during {name}: {len(late)} orders", flush=True)
        Restless.resting = True
        self._note(f"after {way}", await self.ground.quiet())
        self._count()
        await self.ground.stop()
        Restless.resting = False
        await self._start()

    async def _flat(self) -> None:
        """Note until when any order rested."""
        self._open_until_ns = self.clock.mono_ns()
        while True:
            if self.ground.account.open_count:
                self._open_until_ns = self.clock.mono_ns()
            await self.clock.sleep(0.001)

    async def _kflow_kill(self) -> None:
        """As the command does it, over a line of its own."""
        ground, exchange = self.ground, self.ground.exchange
        key = ApiKey.load(exchange.key_id, exchange.private_key_path, environment=Environment.LOCAL)
        where = endpoints(Environment.LOCAL, exchange=exchange.rest)
        groups = Groups(ground.standing.folder).of("local")
        async with TradingClient(where, clock=self.clock, key=key) as client:
            venue = KalshiVenue(client, dict.fromkeys(exchange.clearing.markets, 0))
            report = await killing.kill(
                venue, ground.standing, groups, lambda: self._stored(), clock=self.clock, reason="a drill"
            )
        self.tally.verified_ms.append(report.took_s * 1e3)
        if not report.done:
            print(f"kill: {report.sentence} {report.problems} {report.left}", flush=True)
            self.tally.not_flat += 1

    def _stored(self) -> Any:
        with psycopg.connect(self.ground.dsn, autocommit=True) as conn:
            return killing.stored(conn, "local", self.clock.wall_ns())

    async def _kill_file(self) -> None:
        self.ground.standing.kill("a drill", self.clock.wall_ns() // 1000)

    async def _loss_limit(self) -> None:
        """The next order finds that too much was lost."""
        actor = self.ground.actor.actor
        actor.day.today = -1
        actor.lower(msgspec.structs.replace(actor.limits, daily_loss=0, sha256=""))
        began_ns = self.clock.mono_ns()
        while self.ground.standing.now().overall.standing is not Standing.HALTED:
            if self.clock.mono_ns() > began_ns + 30_000_000_000:
                await self._kill_file()  # it gained today
            await self.clock.sleep(0.001)

    async def _lease_lost(self) -> None:
        """Another has its place: it halts, and goes; a person arms a new one."""
        self.tally.faults["36 lease lost"] += 1
        await self.ground.traded(5, within_s=600)
        began_ns, halted = self.clock.mono_ns(), self.ground.standing.now
        await asyncio.to_thread(self.ground.steal_lease)
        await self.ground.until(
            lambda: halted().overall.standing is Standing.HALTED or not self.ground.running, "a halt"
        )
        self.tally.halted_ms.append((self.clock.mono_ns() - began_ns) / 1e6)
        lost_ns = self.clock.mono_ns()
        try:
            self._count()
            await self.ground.ended()
            self._note("lease lost", ["the actor did not say so"])
        except LeaseLost:
            pass
        late = [a for a in self.ground.watch.arrived if a.mono_ns > lost_ns + _UNDER_WAY_NS]
        self.tally.after_kill += len(late)
        await self._start()

    # Faults. Those of requests hit the next that fits.

    async def _ack_lost(self) -> None:
        self.inject(Kind.LOST_ACK, accepted=True, variant=self.rng.choice(["reset", "closed"]), times=self._times())

    async def _ack_late(self) -> None:
        self.inject(Kind.LATE_ACK, seconds=self.rng.choice([0.5, 2.0, 9.9, 12.0]), times=self._times())

    async def _lost_before(self) -> None:
        if self.rng.random() < 0.5:
            self.inject(Kind.LOST_ACK, variant=self.rng.choice(["reset", "closed"]), times=self._times())
        elif self.rng.random() < 0.5:
            self.ground.proxy.cut_before(_POST)
        else:
            self.ground.proxy.cut_after(_POST)

    async def _http_error(self) -> None:
        status = self.rng.choice([429, 500, 502, 503, 504])
        self.inject(Kind.HTTP_ERROR, status=status, accepted=status != 429 and self._coin(), times=self._times())

    async def _nonsense(self) -> None:
        kind = self.rng.choice([Kind.NO_ORDER, Kind.HTML, Kind.CONTENT_TYPE, Kind.DEPRECATED])
        # A venue that says "retired" has done nothing.
        self.inject(kind, accepted=kind is not Kind.DEPRECATED and self._coin(), times=self._times())

    async def _cancel(self) -> None:
        kind = self.rng.choice([Kind.LOST_ACK, Kind.LATE_ACK, Kind.HTTP_ERROR, Kind.HTML])
        self.inject(kind, command="cancel", accepted=self._coin(), seconds=3.0, times=self._times())

    async def _renewal(self) -> None:
        kind = self.rng.choice([Kind.LOST_ACK, Kind.LATE_ACK, Kind.HTTP_ERROR])
        self.inject(kind, command="amend", accepted=self._coin(), seconds=3.0)

    async def _fill_first(self) -> None:
        self.inject(Kind.FILL_FIRST, times=3)

    async def _fills_twice(self) -> None:
        self.inject(Kind.DUPLICATE, channel="fill", count=2, times=3)

    async def _fills_turned(self) -> None:
        self.inject(Kind.REORDER, channel="fill")

    async def _stream_cut(self) -> None:
        self.inject(Kind.CUT, channel="fill", seconds=self.rng.uniform(0, 8))

    async def _fill_lost(self) -> None:
        self.inject(Kind.DROP, channel="fill", count=2)

    async def _somebody_else(self) -> None:
        market = self.rng.choice(list(self.ground.actor.actor.seats))
        side = self.rng.choice(["yes", "no"])
        self.inject(Kind.OUTSIDE_ORDER, market=market, side=side, count=self.rng.randint(1, 3))

    async def _no_way(self) -> None:
        self.ground.proxy.refuse()
        await self.clock.sleep(self.rng.uniform(1, 20))
        self.ground.proxy.restore()

    async def _black_hole(self) -> None:
        self.ground.proxy.blackhole()
        await self.clock.sleep(self.rng.uniform(1, 15))
        self.ground.proxy.restore()

    async def _pause(self) -> None:
        self.inject(Kind.PAUSE, variant=self.rng.choice(["trading", "exchange"]), seconds=self.rng.uniform(1, 10))

    async def _policy_fails(self) -> None:
        left = [self.rng.randint(1, 15)]

        def fail() -> None:
            left[0] -= 1
            if left[0] <= 0:
                Restless.before = lambda: None
            raise ValueError("it has no opinion")

        Restless.before = fail

    async def _policy_stalls(self) -> None:
        seconds = self.rng.uniform(0.1, 1.0)

        def stall() -> None:
            Restless.before = lambda: None
            if isinstance(self.clock, FastClock):
                self.clock.passed_ns += round(seconds * 1e9)
            else:
                time.sleep(seconds)

        Restless.before = stall

    async def _frames_lost(self) -> None:
        self.inject(self.rng.choice([Kind.DROP, Kind.REORDER, Kind.MALFORMED, Kind.NEGATIVE]))

    async def _reads_fail(self) -> None:
        kind = self.rng.choice([Kind.HTTP_ERROR, Kind.LOST_ACK, Kind.HTML])
        self.inject(kind, command="read", times=self.rng.randint(1, 6))

    def _coin(self) -> bool:
        return self.rng.random() < 0.5

    def _times(self) -> int:
        return self.rng.choice([1, 1, 2, 3])


def at(values: list[float] | list[int], share: float) -> float | None:
    """A quantile."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else None


def figures(storm: Storm, options: argparse.Namespace, seconds: float, took_s: float) -> dict[str, Any]:
    """The last line."""
    tally, ground = storm.tally, storm.ground
    return {
        "bench": "actor",
        "seed": options.seed,
        "simulated_s": round(seconds),
        "took_s": round(took_s),
        "fast": options.fast,
        "markets": options.markets,
        "preset": options.preset,
        "intents": len(ground.watch.asked),
        "intents_sent_twice": tally.twice,
        "orders": len(ground.account.orders),
        "fills": tally.fills,
        "decisions": tally.decisions,
        "runs": tally.runs,
        "faults": sum(tally.faults.values()),
        "faults_by": dict(sorted(tally.faults.items())),
        "injected": dict(sorted(ground.exchange.injector.injected.items())),
        "cuts": ground.proxy.cuts,
        "checks": tally.checks,
        "mismatches": len(tally.mismatches),
        "kills": dict(tally.kills),
        "orders_after_kill": tally.after_kill,
        "not_flat": tally.not_flat,
        "flat_ms": {"p50": at(tally.flat_ms, 0.5), "p95": at(tally.flat_ms, 0.95), "most": at(tally.flat_ms, 1.0)},
        "verified_ms": {"p50": at(tally.verified_ms, 0.5), "p95": at(tally.verified_ms, 0.95)},
        "halted_after_lease_ms": at(tally.halted_ms, 1.0),
        # Where time jumps, no time passes while anybody works.
        "latency_us": None if options.fast else {"p50": at(tally.latency_us, 0.5), "p99": at(tally.latency_us, 0.99)},
        "denied": dict(tally.denied),
        "machine": machine(),
    }


async def main(options: argparse.Namespace, clock: Clock, dsn: str, folder: Path) -> dict[str, Any]:
    seconds = options.hours * 3600 if options.hours else options.minutes * 60
    rng = random.Random(options.seed)
    Restless.share = options.share
    began = time.monotonic()
    async with battlefield(
        folder, dsn, seed=options.seed, preset=options.preset, markets=options.markets, clock=clock
    ) as ground:
        for market in ground.exchange.clearing.markets:  # they would close after a day
            ground.exchange.control.move_close(market, clock.wall_ns() // 1000 + 10 * _DAY_US)
        storm = Storm(ground, clock, rng, options.every)
        await storm.run(seconds)
        return figures(storm, options, seconds, time.monotonic() - began)


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description="An actor while everything goes wrong.")
    options.add_argument("--minutes", type=float, default=30.0, help="how long")
    options.add_argument("--hours", type=float, help="the same in hours")
    options.add_argument("--fast", action="store_true", help="let time jump to whatever is due next")
    options.add_argument("--seed", type=int, default=7)
    options.add_argument("--markets", type=int, default=4)
    options.add_argument("--preset", default="busy", help="how the markets behave: busy, quiet, weather")
    options.add_argument("--share", type=float, default=0.5, help="of decisions that act")
    options.add_argument("--every", type=float, default=3.0, help="seconds between two faults, on average")
    options.add_argument("--quick", action="store_true", help="two simulated minutes")
    return options


if __name__ == "__main__":
    chosen = parser().parse_args()
    if chosen.quick:
        chosen.hours, chosen.minutes, chosen.fast = None, 2.0, True
    logging.basicConfig(level=logging.CRITICAL if not sys.flags.dev_mode else logging.INFO)
    with tempfile.TemporaryDirectory(prefix="kflow-bench-", ignore_cleanup_errors=True) as name:
        place = Path(name)
        place.chmod(0o711)
        with EmbeddedServer.acquire(place, settings=_FAST) as embedded:
            database = TestServer(embedded).create("bench", template="kflow_template")
            ground_folder = place / "actor"
            ground_folder.mkdir()
            if chosen.fast:
                fast = FastClock()
                told = fast.run(main(chosen, fast, database.dsn, ground_folder))
            else:
                told = asyncio.run(main(chosen, SystemClock(), database.dsn, ground_folder))
    print(json.dumps(told), flush=True)
    bad = told["mismatches"] or told["intents_sent_twice"] or told["orders_after_kill"] or told["not_flat"]
    sys.exit(1 if bad else 0)
