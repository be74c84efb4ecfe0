"""Does any policy win where nobody can? On fair markets, with and without a result: random, trained, searched, by hand.

python bench/cheat.py                # about 15 minutes on two cores
python bench/cheat.py --quick        # two arenas, fewer of each, less training: under a minute

Each arena is a kind of fair market (kflow.testing.arena), settled at what it is worth; `cut` ones know no result,
`thin` ones have levels of 4 to 40 contracts and sides that are gone now and then, `wide` ones such sides and a spread
of ten cents, `null` ones neither spread nor fees. A row is a policy: mean profit a market, its standard error over
fresh markets, and the lower 99 % bound of the mean corrected for all that were tried in all arenas. Fair: none is
above 0.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import statistics
import time
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from measure import machine
from numpy.typing import NDArray

from kflow.policy.actions import SIZES, action_set
from kflow.policy.network import Network
from kflow.rl.batch import Batch, Setup
from kflow.rl.dataset import Dataset
from kflow.rl.export import network_of
from kflow.rl.learner import new_model
from kflow.rl.plan import Plan, Source
from kflow.rl.presets import hyper_of, preset_named
from kflow.rl.vec import KalshiVecEnv
from kflow.testing.arena import ARENAS, Policy, drawn, judge
from kflow.testing.contest import lower_bound
from kflow.testing.exploits import EXPLOITS, exploit, tools
from kflow.testing.rivals import evolved, network, random_network, uniform

SETS = ("default", "wide", "maker")
TRAINED = ("default", "wide")
QUICK = ("fair", "fair, thin, cut")


class Effort(NamedTuple):
    """How hard it is tried in each arena."""

    markets: int = 2_000
    train: int = 500
    networks: int = 27
    steps: int = 200_000
    generations: int = 30


class Row(NamedTuple):
    """What came of a policy."""

    arena: str
    kind: str
    policy: str
    profits: NDArray[np.int64]


def greedy(net: Network) -> Policy:
    return lambda _, seen: net.act_batch(seen)


def sampled(net: Network, seed: int) -> Policy:
    rng = np.random.default_rng(seed)

    def choose(_: Batch, seen: NDArray[np.float32]) -> NDArray[np.int64]:
        logits = net.logits(seen)
        chosen: NDArray[np.int64] = np.argmax(logits - np.log(rng.standard_exponential(logits.shape)), axis=1)
        return chosen

    return choose


def trained(algorithm: str, actions: str, dataset: Dataset, setup: Setup, rows: int, steps: int) -> Network:
    preset = preset_named(algorithm, "kflow")
    plan = Plan(
        algorithm=algorithm,
        hyper=hyper_of(algorithm, "kflow"),
        envs=preset.envs,
        source=Source(world="fair"),
        actions=actions,
        sizes=SIZES,
    )
    model = new_model(plan, KalshiVecEnv(drawn(dataset, setup, rows, preset.envs, seed=1)))
    model.learn(steps, log_interval=10**9)
    return network_of(model)


def rivals(dataset: Dataset, rows: int, effort: Effort) -> Iterator[tuple[str, str, Policy, Setup]]:
    """Kind, name, policy and what it trades with."""
    setups = {name: Setup(actions=action_set(name)) for name in SETS}
    counts = {name: len(setup.actions.actions) for name, setup in setups.items()}
    for name in EXPLOITS:
        yield "by hand", name, exploit(name), Setup(actions=tools())
    for name in SETS:
        for masked in (False, True):
            yield "random", f"any action, {name}", uniform(1, counts[name], masked=masked), setups[name]
    for number in range(effort.networks):
        name = SETS[number % 3]
        yield "random", f"network {number}, {name}", random_network(number // 3, counts[name]), setups[name]
    for name in SETS:
        weights = evolved(dataset, setups[name], rows, generations=effort.generations)
        yield "searched", f"evolved, {name}", network(weights, counts[name]), setups[name]
    for name in TRAINED:
        for algorithm in ("ppo", "a2c"):
            net = trained(algorithm, name, dataset, setups[name], rows, effort.steps)
            yield "trained", f"{algorithm}, {name}", greedy(net), setups[name]
            yield "trained", f"{algorithm}, {name}, sampled", sampled(net, 2), setups[name]


def tried_in(name: str, effort: Effort) -> list[Row]:
    arena = ARENAS[name]
    # Where episodes are short, five are in a market.
    training, fresh = arena.train(effort.train), arena.fresh(effort.markets * 2 // (2 if arena.settles else 5))
    return [
        Row(name, kind, policy, judge(act, fresh, setup, arena.rows))
        for kind, policy, act, setup in rivals(training, arena.rows, effort)
    ]


def figures(row: Row, tried: int) -> dict[str, Any]:
    """In dollars."""
    values = row.profits.tolist()
    error = statistics.stdev(values) / math.sqrt(len(values))
    numbers = {"mean": statistics.fmean(values), "error": error, "bound": lower_bound(values, tried)}
    return {"arena": row.arena, "kind": row.kind, "policy": row.policy, "n": len(values)} | {
        key: round(value / 1e6, 4) for key, value in numbers.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--all", action="store_true", help="print every policy, not the best of each kind only")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    effort = Effort(500, 200, 12, 40_000, 10) if options.quick else Effort()
    began, rows = time.monotonic(), []
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        arenas = QUICK if options.quick else tuple(ARENAS)
        for part in pool.imap(partial(tried_in, effort=effort), arenas, chunksize=1):
            rows += part
            print(f"{part[0].arena}: {len(part)} policies, {time.monotonic() - began:.0f} s", flush=True)
    found = [figures(row, len(rows)) for row in rows]
    best: dict[tuple[str, str], dict[str, Any]] = {}
    for one in found:
        # Who never trades comes to 0; of the others the best is told.
        known = best.get((one["arena"], one["kind"]))
        if known is None or (one["error"] > 0, one["bound"]) > (known["error"] > 0, known["bound"]):
            best[one["arena"], one["kind"]] = one
    for one in found if options.all else best.values():
        told = f"{one['mean']:10.3f} +- {one['error']:6.3f} $, bound {one['bound']:10.3f}"
        print(f"{one['arena']:18} {one['kind']:9} {one['policy']:34} {one['n']:6,} {told}")
    winners = [one for one in found if one["bound"] > 0]
    idle = sum(one["error"] == 0 for one in found)
    print(f"{len(rows)} policies, {idle} of which never trade; bounds above 0: {len(winners)}")
    line = {"bench": "cheat", "tried": len(rows), "fair": not winners, "winners": winners, "best": list(best.values())}
    print(json.dumps(line | {"effort": effort._asdict(), "machine": machine(("stable-baselines3", "torch"))}))


if __name__ == "__main__":
    main()
