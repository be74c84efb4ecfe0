"""Events a second that a simulated account costs: kflow's kernel, hftbacktest, and the same rules in plain Python.

    python bench/simulate.py [--quick] [--from FOLDER]

One account re-quotes: it cancels both its quotes and joins the best bid and the best ask with 10 contracts, every 250
ms of the venue's time with orders that travel 30 ms, and in a second case every 20 ms with orders that travel 10:
hftbacktest 2.4.4 does not come back where orders of two steps are under way. All play the same tape, made up or, with
--from, the largest recorded ones; units are its events, though hftbacktest reads a trade as two rows. Fills are shown
and differ: queues, partial fills, self-trades and cash have other rules there, and it is asked to charge no fees.

hftbacktest wants an older numpy: it runs in `.venvs/hftbacktest`, made on first use, by bench/hftbacktest_runs.py. The
JSON's ratio is kflow over hftbacktest at 250 ms by CPU time; null where pip cannot install it.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from measure import Timing, arguments, machine, repeats, report
from numba import njit
from numpy.typing import NDArray

from kflow.market.fees import FeeSchedule
from kflow.market.grid import Grid
from kflow.replay.formats import hftbacktest as rows
from kflow.sim import kernel
from kflow.sim.accounts import Limits, market_of, new_accounts
from kflow.sim.fills import Assumptions, Latency
from kflow.sim.tape import PRINT, TRADE, Stretch, Tape, compile_tape
from kflow.testing.plain_sim import PlainSimulator
from kflow.units import DOLLAR, Money, Size

ROOT = Path(__file__).parents[1]
ENVIRONMENT = ROOT / ".venvs" / "hftbacktest"
INSTALL = ROOT / "tests" / "conformance" / "install.py"
LOCK = INSTALL.with_name("hftbacktest.lock").read_text()
PEER = next(line.split()[0] for line in LOCK.splitlines() if line.startswith("hftbacktest=="))
CONTRACTS = 10
# Cash and positions never bind.
RICH = Money(10**15), Size(10**9)
# Longer than a run of hftbacktest takes, compiling it included.
PATIENCE_S = 60
MANY = 1024
# What the kernel reads of a tape for each event: time, code, column, size.
BYTES = 8 + 1 + 2 + 4


class Run(NamedTuple):
    units: int
    wall_s: float
    cpu_s: float


class Schedule(NamedTuple):
    """How often quotes are renewed; a step is no shorter than the way to the venue and back."""

    step_us: int
    latency_ms: int

    @property
    def name(self) -> str:
        return f"{self.step_us // 1000} ms"

    @property
    def assumptions(self) -> Assumptions:
        latency = Latency.constant(self.latency_ms, self.latency_ms, 0)
        return Assumptions(latency=latency, fees=FeeSchedule.parse("quadratic", 1))

    def decisions(self, tape: Tape) -> NDArray[np.int64]:
        first, last = tape.span_us(0)
        return np.arange(first + self.step_us, last, self.step_us, dtype=np.int64)

    def instructions(self, tape: Tape) -> NDArray[np.int64]:
        """Behind the last decision everything is cancelled at the tape's end: until then the account goes on."""
        at = self.decisions(tape)
        plan = np.zeros((len(at), 4, kernel.INSTRUCTION), np.int64)
        plan[:, :, kernel.I_AT] = at[:, None]
        plan[:, :2, kernel.I_OP] = kernel.CANCEL_ORDER
        plan[:, :2, kernel.I_OF] = 2 * (np.arange(len(at)) - 1)[:, None] + (0, 1)
        plan[:, 2:, kernel.I_OP] = kernel.PLACE
        plan[:, 2:, kernel.I_RULE] = kernel.JOIN
        plan[:, 2:, kernel.I_SIDE] = (0, 1)
        plan[:, 2:, kernel.I_SIZE] = CONTRACTS * 100
        return np.concatenate([plan.reshape(-1, kernel.INSTRUCTION), at_end(tape)])


def at_end(tape: Tape) -> NDArray[np.int64]:
    plan = np.zeros((1, kernel.INSTRUCTION), np.int64)
    plan[0, kernel.I_AT], plan[0, kernel.I_OP] = tape.span_us(0)[1], kernel.CANCEL_ALL
    return plan


USUAL, FAST = Schedule(250_000, 30), Schedule(20_000, 10)
# Those that leave and those that come.
SLOTS = 4


# The tapes.


@njit(cache=True)  # type: ignore[untyped-decorator]
def _crowd(count, seed, book, side, col, change, traded):  # type: ignore[no-untyped-def]
    """Adds, withdrawals and trades near the touch; the price is drawn back to the middle."""
    np.random.seed(seed)
    columns = book.shape[1]
    for event in range(count):
        bid, ask = columns - 1, 0
        while bid >= 0 and book[0, bid] == 0:
            bid -= 1
        while ask < columns and book[1, ask] == 0:
            ask += 1
        draw = np.random.random()
        trades = draw < 0.075
        s = 0 if np.random.random() < (0.5 + (bid - columns / 2) / columns if trades else 0.5) else 1
        best, away = (bid, -1) if s == 0 else (ask, 1)
        size = 100 * (1 + np.int64(np.random.exponential(60.0)))
        far = np.int64(np.random.exponential(4.0))
        # New orders keep their distance from the other side, so that gaps close; the rest is measured from the touch.
        adds = not trades and draw < 0.53
        c = (ask - 1 - far if s == 0 else bid + 1 + far) if adds else best if trades else best + away * far
        c = min(max(c, 0), columns - 1)
        if not adds:
            while c != best and book[s, c] == 0:
                c -= away
            # A market keeps some depth on both sides.
            if np.sum(book[s] > 0) > 3:
                size = -min(size, book[s, c])
        book[s, c] += size
        side[event], col[event], change[event] = s, c, size
        traded[event] = -size if trades and size < 0 else 0


def made_up(count: int) -> Tape:
    """A busy market on whole cents: 7.5 % trades, 4.7 ms between events, one in twenty within the µs of another."""
    grid = Grid.named("linear_cent")
    price = np.array(grid.prices(), np.int64)
    book = np.zeros((2, len(grid)), np.int64)
    book[0, :49], book[1, 50:] = 50_000, 50_000
    start = tuple([(int(p), 50_000) for p in price[:49]] for _ in range(2))
    side, col = np.zeros(count, np.int8), np.zeros(count, np.int64)
    change, traded = np.zeros(count, np.int64), np.zeros(count, np.int64)
    _crowd(count, 41, book, side, col, change, traded)
    rng = np.random.default_rng(41)
    spacing = np.where(rng.random(count) < 0.05, 0, rng.exponential(4700 / 0.95, count)).astype(np.int64)
    own = np.where(side == 0, price[col], DOLLAR - price[col]).astype(np.int32)
    prints = np.zeros((0, 5), np.int64)
    stretch = Stretch(
        start=start, us=1_700_000_000_000_000 + np.cumsum(spacing), side=side, price=own, change=change, traded=traded,
        prints=prints, ends="made up",
    )  # fmt: skip
    return compile_tape("MADE-UP", [stretch], grid, {})


def recorded(folder: Path, count: int) -> list[Tape]:
    """The largest recorded stretches, until they hold so many events. Removals of kind 2 were trades."""
    import pyarrow.parquet as pq

    with gzip.open(folder / "segments.json.gz") as file:
        segments = sorted(json.load(file), key=lambda segment: -segment["deltas"])
    deltas = {name: column.to_numpy() for name, column in _columns(pq.read_table(folder / "deltas.parquet"))}
    grid, tapes = Grid.named("tapered_deci_cent"), []
    for segment in segments:
        if sum(tape.events for tape in tapes) >= count:
            break
        where = np.flatnonzero(deltas["segment"] == segment["segment"])
        first, *later = segment["snapshots"]
        part = {name: column[where[: later[0][0] if later else None]] for name, column in deltas.items()}
        change = part["delta_centi"].astype(np.int64)
        stretch = Stretch(
            start=([(p, size) for p, size in first[3]], [(p, size) for p, size in first[4]]),
            us=part["exch_ts_us"], side=part["side"], price=part["price_milli"].astype(np.int32) * 10, change=change,
            traded=np.where(part["kind"] == 2, -change, 0), prints=np.zeros((0, 5), np.int64), ends="recording's end",
        )  # fmt: skip
        tapes.append(compile_tape(segment["market"], [stretch], grid, {}))
    return tapes


def _columns(table: Any) -> Iterator[tuple[str, Any]]:
    return ((name, table[name]) for name in table.column_names)


def head(tape: Tape, count: int) -> Tape:
    """Its first events, to the end of a µs."""
    arrays = tape.arrays
    ends = np.flatnonzero(arrays.code[:count] & 8)
    n = int(ends[-1]) + 1
    keys = arrays.keys[arrays.keys < n]
    cut = {name: getattr(arrays, name)[:n] for name in ("us", "code", "col", "size", "top")}
    bounds = np.array([[0, n]], np.int64)
    return Tape(tape.market, arrays._replace(**cut, bounds=bounds, keys=keys, books=arrays.books[: len(keys)]))


@njit(cache=True)  # type: ignore[untyped-decorator]
def _levels(code, col, size, book, level):  # type: ignore[no-untyped-def]
    """Size of each event's level after it."""
    for event in range(len(code)):
        kind, side, c = code[event] & 3, code[event] >> 2 & 1, col[event]
        if kind != PRINT:
            book[side, c] += size[event] if kind == 0 else -size[event]
        level[event] = book[side, c]


def as_rows(tape: Tape) -> NDArray[np.void]:
    """The same for hftbacktest: levels' new sizes, and before those that a taker made smaller, the trade."""
    arrays = tape.arrays
    level = np.zeros(tape.events, np.int64)
    _levels(arrays.code, arrays.col, arrays.size, arrays.books[0].astype(np.int64), level)
    kind, side = arrays.code & 3, arrays.code >> 2 & 1
    trade, depth = np.flatnonzero(kind >= TRADE), np.flatnonzero(kind != PRINT)
    begin = np.argwhere(arrays.books[0])
    bid, ask = rows.BUY, rows.SELL
    made = np.zeros(len(begin) + len(trade) + len(depth), rows.EVENT)
    order = np.argsort(np.concatenate([np.full(len(begin), -1), trade * 2, depth * 2 + 1]), kind="stable")
    event = np.concatenate([np.zeros(len(begin), np.int64), trade, depth])
    made["ev"] = rows.EXCH | rows.LOCAL
    made["ev"] |= np.concatenate([
        rows.DEPTH | np.where(begin[:, 0] == 0, bid, ask),
        rows.TRADE | np.where(side[trade] == 0, ask, bid),
        rows.DEPTH | np.where(side[depth] == 0, bid, ask),
    ]).astype(np.uint64)  # fmt: skip
    made["exch_ts"] = made["local_ts"] = arrays.us[event] * 1000
    made["px"] = arrays.price[np.concatenate([begin[:, 1], arrays.col[event[len(begin) :]]])] / DOLLAR
    sizes = [arrays.books[0][begin[:, 0], begin[:, 1]], arrays.size[trade], level[depth]]
    made["qty"] = np.concatenate(sizes) / 100
    return made[order]


# Who plays them.


class Ours:
    """kflow's kernel: whole plans at once. The log has room for every row."""

    def __init__(self, tapes: list[Tape], schedule: Schedule | None, accounts: int = 1, rounds: int = 1) -> None:
        self.tapes, self.accounts, self.rounds = tapes, accounts, rounds
        self.rules = (schedule or USUAL).assumptions.rules()
        self.plans = [schedule.instructions(tape) if schedule else at_end(tape) for tape in tapes]
        cash, position = RICH
        limits = Limits(cash=cash, max_position=position, orders=SLOTS if schedule else 1)
        most = max(len(plan) for plan in self.plans)
        self.new = new_accounts(accounts, max(tape.columns for tape in tapes), limits, log=1)
        self.state = new_accounts(accounts, self.new.depth.shape[2], limits, log=2 * most + 64)
        self.outcome: dict[str, Any] = {}

    def __call__(self) -> Run:
        run = Run(0, 0.0, 0.0)
        self.outcome = {"fills": 0, "contracts": 0.0, "decisions": 0, "touch": []}
        for tape, plan in zip(self.tapes, self.plans, strict=True):
            for _ in range(self.rounds):
                self._renew()
                _, wall_s, cpu_s = timed(lambda tape=tape, plan=plan: self._play(tape, plan))
                units = tape.events * self.accounts
                run = Run(run.units + units, run.wall_s + wall_s, run.cpu_s + cpu_s)
            self._look(tape, plan)
        return run

    def _renew(self) -> None:
        for array, new in zip(self.state[:-1], self.new[:-1], strict=True):
            array[...] = new

    def _play(self, tape: Tape, plan: NDArray[np.int64]) -> int:
        market, (first, last) = market_of(tape), tape.span_us(0)
        count = self.accounts
        kernel.seat_all(self.state, market, np.zeros(count, np.int64), np.full(count, first))
        spans = np.tile(np.array([[0, len(plan)]], np.int64), (count, 1))
        kernel.play(self.state, market, self.rules, plan, spans, np.full(count, last))
        return tape.events

    def _look(self, tape: Tape, plan: NDArray[np.int64]) -> None:
        account = self.state.account[0]
        if account[kernel.CURSOR] != tape.events:
            raise SystemExit("kflow did not take every event")
        log = self.state.log[0, : account[kernel.LOGGED]]
        if len(log) < account[kernel.LOGGED]:
            raise SystemExit("kflow's log was too small")
        self.outcome["fills"] += int(np.isin(log[:, kernel.KIND], (kernel.TOOK, kernel.MADE)).sum())
        self.outcome["contracts"] += int(account[kernel.VOLUME]) / 100
        self.outcome["decisions"] += len(plan) // 4
        # A tape without a best ask ends outside the grid.
        prices = [0, *tape.arrays.price.tolist(), DOLLAR]
        self.outcome["touch"].append([prices[account[column] + 1] / DOLLAR for column in (kernel.BID, kernel.ASK)])


class Theirs:
    """hftbacktest, in a child that waits for the word."""

    def __init__(self, tapes: list[Tape], folder: Path) -> None:
        whole = all(np.all(tape.arrays.price % 100 == 0) for tape in tapes)
        self.units, self.rows = sum(tape.events for tape in tapes), 0
        files = []
        for number, tape in enumerate(tapes):
            files.append(str(folder / f"{number}.npy"))
            made = as_rows(tape)
            self.rows += len(made)
            np.save(files[-1], made)
        script = Path(__file__).with_name("hftbacktest_runs.py")
        self.child = subprocess.Popen(
            [ENVIRONMENT / "bin" / "python", script, "0.01" if whole else "0.001", "0.01", *files],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=alone(),
        )  # fmt: skip
        self.outcome: dict[Schedule, dict[str, Any]] = {}

    def case(self, schedule: Schedule) -> Callable[[], Run]:
        asked = {
            "step_ns": schedule.step_us * 1000, "latency_ns": schedule.latency_ms * 1_000_000,
            "contracts": float(CONTRACTS),
        }  # fmt: skip

        def run() -> Run:
            assert self.child.stdin is not None
            assert self.child.stdout is not None
            self.child.stdin.write(json.dumps(asked) + "\n")
            self.child.stdin.flush()
            if not select.select([self.child.stdout], [], [], PATIENCE_S)[0]:
                raise SystemExit("hftbacktest does not come back")
            done = self.outcome[schedule] = json.loads(self.child.stdout.readline())
            return Run(self.units, done.pop("wall_s"), done.pop("cpu_s"))

        return run

    def close(self) -> None:
        self.child.kill()
        self.child.communicate()


class Plain:
    """The kernel's rules in plain Python."""

    def __init__(self, tape: Tape, schedule: Schedule) -> None:
        self.tape, self.schedule = tape, schedule
        self.cash = 0

    def __call__(self) -> Run:
        cash, position = RICH
        limits = Limits(cash=cash, max_position=position, orders=SLOTS)
        simulator = PlainSimulator(self.tape, self.schedule.assumptions, limits)
        run = timed(lambda: self._play(simulator))
        self.cash = simulator.cash
        return run

    def _play(self, simulator: PlainSimulator) -> int:
        first, last = self.tape.span_us(0)
        simulator.seat(0, first)
        for decision, at in enumerate(self.schedule.decisions(self.tape).tolist()):
            simulator.run(at)
            for number in (0, 1):
                simulator.cancel(2 * (decision - 1) + number)
            for side in (0, 1):
                simulator.place(side, simulator.ask if side else simulator.bid, CONTRACTS * 100)
        simulator.run(last)
        return self.tape.events


@njit(cache=True)  # type: ignore[untyped-decorator]
def _follow(code, col, size, book):  # type: ignore[no-untyped-def]
    """The least that every simulator does: the book, and where its touch is."""
    bid, ask, far = book.shape[1] - 1, 0, 0
    for event in range(len(code)):
        kind, side, c = code[event] & 3, code[event] >> 2 & 1, col[event]
        if kind == 0:
            book[side, c] += size[event]
            if side == 0:
                bid = max(bid, c)
            else:
                ask = min(ask, c)
        elif kind != PRINT:
            book[side, c] -= size[event]
        while bid >= 0 and book[0, bid] == 0:
            bid -= 1
        while ask < book.shape[1] and book[1, ask] == 0:
            ask += 1
        far += ask - bid
    return far


def follow(tapes: list[Tape]) -> int:
    for tape in tapes:
        arrays = tape.arrays
        _follow(arrays.code, arrays.col, arrays.size, arrays.books[0].copy())
    return sum(tape.events for tape in tapes)


def compiled(tape: Tape) -> Callable[[], Run]:
    """Making a tape of deltas."""
    arrays = tape.arrays
    kind, side = arrays.code & 3, (arrays.code >> 2 & 1).astype(np.int8)
    price, size, book = arrays.price[arrays.col], arrays.size.astype(np.int64), arrays.books[0]
    yes, no = ([(int(arrays.price[c]), int(book[s, c])) for c in np.flatnonzero(book[s])] for s in (0, 1))
    stretch = Stretch(
        start=(yes, [(DOLLAR - p, held) for p, held in no]), us=arrays.us, side=side,
        price=np.where(side == 0, price, DOLLAR - price).astype(np.int32), change=np.where(kind == 0, size, -size),
        traded=np.where(kind == TRADE, size, 0), prints=np.zeros((0, 5), np.int64), ends="made up",
    )  # fmt: skip
    grid = Grid.named("linear_cent" if tape.columns == 99 else "tapered_deci_cent")
    return lambda: timed(lambda: compile_tape(tape.market, [stretch], grid, {}).events)


# How it is measured.


def timed(work: Callable[[], int]) -> Run:
    wall, cpu = time.perf_counter(), time.process_time()
    units = work()
    return Run(units, time.perf_counter() - wall, time.process_time() - cpu)


def alternate(cases: Mapping[str, Callable[[], Run]], count: int) -> dict[str, Timing]:
    """As measure.alternate, for cases that time themselves: one of them runs in another process."""
    names = list(cases)
    runs: dict[str, list[Run]] = {name: [] for name in names}
    for name in names:  # warm up
        cases[name]()
    for turn in range(count):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            runs[name].append(cases[name]())
    return {name: medians_of(measured) for name, measured in runs.items()}


def medians_of(runs: list[Run]) -> Timing:
    rates = [run.units / run.wall_s for run in runs]
    return Timing(
        units=runs[0].units,
        wall_s=statistics.median(run.wall_s for run in runs),
        cpu_s=statistics.median(run.cpu_s for run in runs),
        per_s=statistics.median(rates),
        per_cpu_s=statistics.median(run.units / run.cpu_s for run in runs),
        per_s_least=min(rates),
        per_s_most=max(rates),
    )


def copied() -> float:
    """Bytes a second that a copy reads and writes."""
    source = np.ones(16_000_000)
    target = np.zeros_like(source)
    return statistics.median(2 * source.nbytes / timed(lambda: np.copyto(target, source) or 1).cpu_s for _ in range(5))


def alone(**more: str) -> dict[str, str]:
    """One thread each."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", **more}


def starts() -> dict[str, float]:
    """Seconds that a fresh process needs up to its first played event: nothing compiled yet, and once all is cached."""
    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, __file__, "--first-call"]
        return {name: _wall(command, alone(NUMBA_CACHE_DIR=cache)) for name in ("cold_s", "warm_s")}


def _wall(command: list[str], environment: dict[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, env=environment, check=True)
    return round(time.perf_counter() - began, 2)


def first_call() -> None:
    us = np.arange(2, dtype=np.int64)
    stretch = Stretch(
        start=([(4900, 100)], [(4900, 100)]), us=us, side=us.astype(np.int8), price=np.full(2, 4900, np.int32),
        change=us + 100, traded=us * 0, prints=np.zeros((0, 5), np.int64), ends="made up",
    )  # fmt: skip
    Ours([compile_tape("FIRST", [stretch], Grid.named("linear_cent"), {})], USUAL)()


def missing() -> str | None:
    """Make hftbacktest's environment where there is none yet; why it cannot be had, if so."""
    done = subprocess.run(
        [sys.executable, INSTALL, "hftbacktest"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if (ENVIRONMENT / ".installed").is_file():
        return None
    return (done.stdout.strip().splitlines() or ["pip could not install it"])[-1]


def check(ours: Mapping[Schedule, Ours], theirs: Theirs) -> dict[str, Any]:
    """Both took all events and decided as often; what was filled is shown side by side."""
    shown = {}
    for schedule, mine in ours.items():
        other = theirs.outcome[schedule]
        if mine.outcome["touch"] != other["touch"] or other["late"]:
            raise SystemExit(f"the two end elsewhere: {mine.outcome}, {other}")
        shown[schedule.name] = {
            side: {key: value for key, value in outcome.items() if key in ("decisions", "fills", "contracts")}
            for side, outcome in (("kflow", mine.outcome), ("hftbacktest", other))
        }
        print(f"every {schedule.name}: {shown[schedule.name]}")
    print("(fills differ by the models' rules and are not meant to agree)")
    return shown


def limits(medians: Mapping[str, Timing]) -> dict[str, float]:
    """How far the kernel is from what the machine could do."""
    bandwidth, rate = copied(), medians["kflow, no orders"].per_cpu_s
    found = {
        "copy_gb_per_s": bandwidth / 1e9,
        "bytes_per_event": float(BYTES),
        "share_of_bandwidth": rate * BYTES / bandwidth,
        "share_of_bare_book": rate / medians["bare book"].per_cpu_s,
    }
    gb, share, bare = found["copy_gb_per_s"], found["share_of_bandwidth"], found["share_of_bare_book"]
    print(f"limits: copies move {gb:.1f} GB/s, of which a tape of {BYTES} bytes an event uses {share:.1%}")
    print(f"the kernel without orders reaches {bare:.0%} of a loop that only keeps the book")
    return found


def main() -> None:
    parser = arguments("Simulated events per second: kflow, hftbacktest, plain Python.", full=9, quick=3)
    parser.add_argument("--from", dest="folder", type=Path, help="recordings (kalshi-btc15m-2026-05) instead")
    parser.add_argument("--first-call", action="store_true", help="play two events and end: what a start costs")
    options = parser.parse_args()
    if options.first_call:
        first_call()
        return
    count = 1_000_000 if options.quick else 3_000_000
    tapes = recorded(options.folder, count // 4) if options.folder else [made_up(count)]
    print(f"{len(tapes)} tapes, {sum(tape.events for tape in tapes):,} events, {sum(t.seconds for t in tapes):,.0f} s")
    little, few = head(tapes[0], 20_000), head(tapes[0], 5_000)
    ours = {schedule: Ours(tapes, schedule) for schedule in (USUAL, FAST)}
    exact, plain = Ours([little], USUAL), Plain(little, USUAL)
    cases: dict[str, Callable[[], Run]] = {
        "kflow, 250 ms": ours[USUAL],
        "kflow, 20 ms": ours[FAST],
        "kflow, no orders": Ours(tapes, None),
        "bare book": lambda: timed(lambda: follow(tapes)),
        "plain Python, 250 ms": plain,
        "1 account": Ours([few], USUAL, rounds=100),
        f"{MANY} accounts": Ours([few], USUAL, accounts=MANY),
        "tape compiled": compiled(tapes[0]),
    }
    why = missing()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        if why is None:
            theirs = Theirs(tapes, Path(folder))
            stack.callback(theirs.close)
            cases |= {"hftbacktest, 250 ms": theirs.case(USUAL), "hftbacktest, 20 ms": theirs.case(FAST)}
        medians = alternate(cases, repeats(options))
    exact()
    if exact.state.account[0, kernel.CASH] != plain.cash:
        raise SystemExit("plain Python and the kernel disagree")
    facts: dict[str, Any] = {
        "plain_ratio": medians["kflow, 250 ms"].per_cpu_s / medians["plain Python, 250 ms"].per_cpu_s,
        "limits": limits(medians),
        # Compiling takes longer than the quick form may.
        "start": {} if options.quick else starts(),
    }
    if why is not None:
        print(f"hftbacktest is not there: {why}")
        line = {"bench": "simulate", "ratio": None, **facts, "machine": machine(("numpy", "numba"))}
        print(json.dumps(line, default=str))
        return
    ratio = {
        name: medians[f"kflow, {name}"].per_cpu_s / medians[f"hftbacktest, {name}"].per_cpu_s
        for name in ("250 ms", "20 ms")
    }
    facts |= {"fills": check(ours, theirs), "fast_ratio": ratio["20 ms"], "their_rows": theirs.rows, "peer": PEER}
    report("simulate", medians, ratio["250 ms"], packages=("numpy", "numba"), **facts)


if __name__ == "__main__":
    main()
