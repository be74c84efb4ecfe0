"""What training costs: the environment alone, Stable-Baselines3 on it, the start, a data set, a decision, memory.

    python bench/training.py [--quick] [--from FOLDER] [--only env,learn,phases,million,start,compile,decide]

One thread. Cases take turns in one process; rates are of CPU time, ratios are medians over the rounds with the least
and the most. The standard session is 56 made-up markets of 15 minutes (world `reverting`: 24 deltas a second, 14
hours, a decision each 250 ms); --from adds recordings (kalshi-btc15m-2026-05). The random policy holds three times in
ten and else takes any action of the set. The plain environment (bench/plain_gym.py) is a gymnasium.Env in plain Python
of the same rules, which is the same to the bit.

Criteria (perf-notes part II): environment at 1,024 accounts >= 200 times the plain one and >= 2.5 million steps per
CPU second; SB3 on it >= 80 % of SB3 on an environment of nothing, >= 1.5 times SB3 with eight plain ones; `kflow
train` to its first step <= 4 s, <= 15 s with nothing compiled; features of a session >= 4 million deltas/s and >= 8
times a SortedDict replay; an actor's decision <= 100 µs (p99). `ratio` of the JSON is the first, set `wide`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measure import Timing, arguments, repeats, report
from plain_gym import PlainGym
from simulate import Run, alone, copied, medians_of
from sortedcontainers import SortedDict
from training_sb3 import (
    MARKETS,
    ROWS,
    Rounds,
    assume,
    in_turn,
    learning,
    million,
    new_learner,
    phases,
    ratio,
)

from kflow.market.grid import Grid
from kflow.policy import features
from kflow.policy.actions import action_set
from kflow.policy.network import Layout
from kflow.policy.view import MarketView
from kflow.replay.tapes import Shelf
from kflow.rl import stepping
from kflow.rl.batch import LIMITS, Batch, Setup
from kflow.rl.columns import market_columns
from kflow.rl.dataset import EVERY_US, Dataset, build
from kflow.rl.episodes import Drawn
from kflow.rl.worlds import make_tapes
from kflow.sim import kernel
from kflow.sim.tape import ADD, PRINT, Tape
from kflow.store.folders import data_dir
from kflow.testing.models import untrained

PARTS = ("env", "learn", "phases", "million", "start", "compile", "decide")
COUNTS = (64, 256, 1_024, 4_096)
HOLD = 0.3
LINE = 64
# The environment alone.


def chosen(steps: int, count: int, actions: int) -> Any:
    """[steps, count] actions of the random policy."""
    rng = np.random.default_rng(3)
    any_ = rng.integers(1, actions, (steps, count))
    return np.where(rng.random((steps, count)) < HOLD, 0, any_)


class Ours:
    """A batch that plays at random."""

    def __init__(self, data: Dataset, actions: str, count: int, steps: int, *, hold: bool = False) -> None:
        setup = Setup(actions=action_set(actions))
        self.batch = Batch(data, setup, Drawn(data, ROWS), count, seed=1)
        self.batch.reset()
        rounds = max(steps // count, 4)
        self._chosen = chosen(rounds, count, 1 if hold else len(setup.actions.actions)) if not hold else None
        self._hold = np.zeros((rounds, count), np.int64)

    def __call__(self) -> int:
        plan = self._hold if self._chosen is None else self._chosen
        for actions in plan:
            self.batch.step(actions)
        return int(plan.size)

    @property
    def resting(self) -> float:
        """Orders of an account that rest, in the mean."""
        found = np.count_nonzero(self.batch.state.orders[:, :, kernel.STATUS] == kernel.RESTS)
        return float(found) / self.batch.count


class Plain:
    """The plain environment, which plays at random."""

    def __init__(self, tapes: list[Tape], actions: str, steps: int) -> None:
        setup = Setup(actions=action_set(actions))
        self._env = PlainGym(tapes, assume, setup, EVERY_US)
        self._chosen = chosen(steps, 1, len(setup.actions.actions))[:, 0]
        self._env.reset()

    def __call__(self) -> int:
        for action in self._chosen:
            _, _, terminated, truncated, _ = self._env.step(action)
            if terminated or truncated:
                self._env.reset()
        return len(self._chosen)


def lines(events: float, resting: float) -> float:
    """Lines of memory that a decision touches: of the account, of its desk, of the tape, of the book, of the row."""
    account = (kernel.ACCOUNT * 8 + stepping.SEAT * 8) / LINE + 2 + 1  # rows that begin anywhere, and sums
    tape = events * (8 + 1 + 2 + 4) / LINE + 4
    book = 4 + 4  # two of each side; what was taken of them and when
    seen = stepping.MARKET * 4 / LINE + 1 + stepping.OBSERVATION * 4 / LINE + 1
    return account + tape + book + seen + (1 + resting) * kernel.ORDER * 8 / LINE


def environment(name: str, data: Dataset, tapes: list[Tape], options: Namespace) -> tuple[Rounds, dict[str, Any]]:
    """E1, E2, E3 and memory."""
    steps, plain = (100_000, 400) if options.quick else (400_000, 2_000)
    ours = {
        f"{actions}, N = {count}": Ours(data, actions, count, steps)
        for actions in ("default", "wide")
        for count in COUNTS
    }
    hold = Ours(data, "default", 1_024, steps, hold=True)
    cases: dict[str, Callable[[], int]] = {**ours, "hold, N = 1024": hold}
    cases |= {f"plain, {actions}": Plain(tapes, actions, plain) for actions in ("default", "wide")}
    rounds = in_turn(cases, repeats(options))
    bandwidth = copied()
    events = sum(len(group.market.us) for group in data.groups) / sum(span.rows for span in data.spans)
    facts: dict[str, Any] = {"events_per_step": events, "copy_gb_per_s": bandwidth / 1e9}
    for actions in ("default", "wide"):
        each = f"{actions}, N = 1024"
        found = ratio(rounds, each, f"plain, {actions}")
        rate, touched = medians_of(rounds[each]).per_cpu_s, LINE * lines(events, ours[each].resting)
        facts[actions] = {
            "plain_ratio": found._asdict(), "steps_per_cpu_s": rate, "resting": ours[each].resting,
            "bytes": touched, "share_of_copy": rate * touched / bandwidth,
        }  # fmt: skip
        print(f"{name}, {actions}: {found} times the plain one; {rate:,.0f} steps per CPU second; {touched:,.0f} bytes")
        print(f"  each, {rate * touched / bandwidth:.0%} of the {bandwidth / 1e9:.1f} GB/s that copies move")
    batch = ours["wide, N = 1024"].batch
    state = (*batch.state, batch.desk.seat, batch.desk.sums)
    facts["state_bytes_per_account"] = sum(array.nbytes for array in state) / batch.count
    facts["bytes_per_hour"] = data.nbytes / (data.seconds / 3600)
    print(f"memory: {facts['bytes_per_hour'] / 1e6:.1f} MB per hour, {facts['state_bytes_per_account']:,.0f} B/account")
    return {f"{name}: {case}": runs for case, runs in rounds.items()}, facts


# The start.


def first_step(folder: str) -> None:
    """Be `kflow train`, and end when its environment has stepped once."""
    step = Batch.step

    def once(batch: Batch, actions: Any) -> Any:
        step(batch, actions)
        os._exit(0)

    Batch.step = once  # type: ignore[method-assign]
    from kflow.cli.main import main as command

    sys.argv = ["kflow", "train", "--world", "reverting", "--markets", "8", "--no-register", "--runs", folder]
    command()


def starts() -> dict[str, list[float]]:
    """Wall and CPU seconds of a fresh process up to its first step: nothing compiled yet, and once all is cached."""
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as cache, tempfile.TemporaryDirectory() as folder:
        for name in ("cold", "warm", "warm again"):
            run = timed_child([sys.executable, __file__, "--first-step", folder], cache)
            found[name] = [round(run.wall_s, 2), round(run.cpu_s, 2)]
            print(f"kflow train to its first step, {name}: {run.wall_s:.1f} s, {run.cpu_s:.1f} s of CPU")
    return found


def timed_child(command: list[str], cache: str) -> Run:
    before, began = os.times(), time.perf_counter()
    environment = alone(NUMBA_CACHE_DIR=cache)
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = os.times()
    cpu = after.children_user - before.children_user + after.children_system - before.children_system
    return Run(1, time.perf_counter() - began, cpu)


# Features of a session, and a decision.


def replay(tapes: list[Tape]) -> int:
    """The deltas into two SortedDicts and nothing else."""
    done = 0
    for tape in tapes:
        book = (SortedDict(), SortedDict())
        for side, level in enumerate(tape.arrays.books[0].tolist()):
            book[side].update({column: size for column, size in enumerate(level) if size})
        columns = [column.tolist() for column in (tape.arrays.code, tape.arrays.col, tape.arrays.size)]
        for code, column, size in zip(*columns, strict=True):
            kind, levels = code & 3, book[code >> 2 & 1]
            if kind == PRINT:
                continue
            left = levels.get(column, 0) + (size if kind == ADD else -size)
            if left:
                levels[column] = left
            else:
                levels.pop(column, None)
        done += tape.events
    return done


def compiling(tapes: list[Tape], options: Namespace) -> tuple[Rounds, dict[str, Any]]:
    def columns() -> int:
        for tape in tapes:
            for stretch in range(tape.stretches):
                market_columns(tape, stretch, EVERY_US, 0.07)
        return sum(tape.events for tape in tapes)

    few = tapes[:2] if options.quick else tapes[:8]
    rounds = in_turn({"features": columns, "SortedDict": lambda: replay(few)}, repeats(options))
    found = ratio(rounds, "features", "SortedDict")
    print(f"features of a session: {found} times a SortedDict replay")
    return rounds, {"sorteddict_ratio": found._asdict()}


def deciding(options: Namespace) -> dict[str, dict[str, float]]:
    """µs of a decision on a book of 279 prices, every second level quoted: p50, p99."""
    prices = Grid.named("tapered_deci_cent").prices()
    rng, middle = np.random.default_rng(0), len(prices) // 2
    sizes = rng.integers(100, 100_000, (2, len(prices))) * (np.arange(len(prices)) % 2)
    bids, asks = (
        np.where(np.arange(len(prices)) < middle, sizes[0], 0),
        np.where(np.arange(len(prices)) > middle, sizes[1], 0),
    )
    view = MarketView([int(price) for price in prices], close_us=900_000_000, taker_rate=0.07)
    view.begin(0, bids.tolist(), asks.tolist())
    network = untrained(Layout(observation=len(features.FEATURES), actions=21))
    model = new_learner(21)
    seen, orders = [0.0] * len(features.FEATURES), [0, middle - 2, 500, 1_000, 10_000_000]
    cash = int(LIMITS.cash)

    def ours(turn: int) -> None:
        view.encode(turn * 1_000, seen)
        view.encode_own(500, cash, cash, cash, 50_000, 10_000, orders, 1, seen)
        network.act(seen)

    def theirs(_turn: int) -> None:
        model.predict(observation, deterministic=True)

    observation = np.zeros(len(features.FEATURES), np.float32)
    spent: dict[str, list[tuple[int, int]]] = {"numpy, features included": [], "SB3 predict, network only": []}
    for turn in range(2_000 if options.quick else 20_000):
        for name, decide in zip(spent, (ours, theirs), strict=True):
            wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
            decide(turn)
            spent[name].append((time.perf_counter_ns() - wall, time.thread_time_ns() - cpu))
    found = {}
    for name, times in spent.items():
        p50, p99 = np.percentile(np.array(times[100:]) / 1000, [50, 99], axis=0).tolist()
        found[name] = {"p50_us": p50[0], "p99_us": p99[0], "cpu_p50_us": p50[1], "cpu_p99_us": p99[1]}
        print(f"a decision, {name}: p50 {p50[0]:.0f} µs, p99 {p99[0]:.0f} µs; of CPU {p50[1]:.0f}, {p99[1]:.0f} µs")
    return found


def main() -> None:
    parser = arguments("What training costs.", full=11, quick=3)
    parser.add_argument("--from", dest="folder", type=Path, help="recordings (kalshi-btc15m-2026-05) as well")
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--first-step", dest="first_step", help="be `kflow train` and end at its first step")
    options = parser.parse_args()
    if options.first_step:
        first_step(options.first_step)
        return
    parts = set(options.only.split(","))
    tapes = make_tapes("reverting", 8 if options.quick else MARKETS, seed=7)
    data = build(tapes, assume)
    print(f"{data.seconds / 3600:.1f} h, {sum(tape.events for tape in tapes):,} events, {data.nbytes / 1e6:.0f} MB")
    rounds: Rounds = {}
    facts: dict[str, Any] = {}
    if "env" in parts:
        found, facts["env"] = environment("made up", data, tapes, options)
        rounds |= found
        if options.folder:
            kept = Shelf(data_dir() / "tapes").of_files([options.folder])
            found, facts["env_recorded"] = environment("recorded", build(kept, assume), kept, options)
            rounds |= found
    if "learn" in parts:
        found, facts["learn"] = learning(data, tapes, options)
        rounds |= found
    if "phases" in parts:
        facts["phases"] = phases(data, options)
    if "million" in parts and not options.quick:
        facts["million"] = million(data)
    if "start" in parts and not options.quick:
        facts["start"] = starts()
    if "compile" in parts:
        found, facts["compile"] = compiling(tapes, options)
        rounds |= found
    if "decide" in parts:
        facts["decide"] = deciding(options)
    medians: dict[str, Timing] = {name: medians_of(runs) for name, runs in rounds.items()}
    first = facts.get("env", {}).get("wide", {}).get("plain_ratio", {}).get("median", 0.0)  # 0: not asked for
    report("training", medians, first, packages=("numpy", "numba", "torch", "stable-baselines3"), **facts)


if __name__ == "__main__":
    main()
