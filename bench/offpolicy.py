"""Does an off-policy estimate come to what the new policy really earns, and is its interval as sure as it says?

python bench/offpolicy.py          # 200 logs in each of four made-up worlds, ten minutes
python bench/offpolicy.py --quick  # 10 logs

Of each log: 40 markets of a minute, three episodes of 20 decisions in each, one decision a second. The old policy draws
by random weights, an allowed action at random in 5 % of decisions; the new one has other weights. The truth is what the
kernel pays the new policy: its mean over all markets and 8 seeds. In `right` the estimate's simulator is the one that
the log was written by; in `wrong` it knows nothing of the 700 ms that orders really took, and fills those that rest as
soon as anything trades at their price.

The second table: the same with policies that differ less and more, to see from which effective number on an interval
holds. Criterion: intervals of the doubly robust estimate, with the right simulator and the wrong, cover the truth in
91 % of logs at least; with the right one its error is smaller than that of importance sampling.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from measure import machine

from kflow.evaluate.offpolicy.soft import Soft
from kflow.evaluate.offpolicy.verdict import TooFew, Verdict, Weighed, check_weights, estimate, judge, weighed
from kflow.rl.worlds import make_tapes
from kflow.sim.fills import Latency
from kflow.testing.offpolicy import Ground, ground, logged, moved, on_policy, random_policy

WORLDS: Final = {"dollar": "default", "reverting": "default", "maker": "maker", "null": "default"}
LATE: Final = Latency.constant(700, 700, 0)
NAMES: Final = ("is", "wis", "dr", "wdr", "model")
SHOWN: Final = ("is", "wis", "dr", "wdr")
FAR: Final = (0.2, 0.35, 0.5, 0.7, 1.0, 1.5)
BY: Final = 0.3
COVERS: Final = 0.91
# Kish's number: edges of the rows of the second table.
BINS: Final = (0, 5, 10, 20, 30, 45, 60, 1000)


class Arena(NamedTuple):
    """Markets of one log: as they really are, and as a simulator believes that knows less."""

    truth: Ground
    wrong: Ground
    old: Soft
    new: Soft


def arena(world: str, number: int, by: float) -> Arena:
    tapes = make_tapes(world, 40, seed=10_000 + number, seconds=60)
    truth = ground(tapes, actions=WORLDS[world], latency=LATE)
    wrong = ground(tapes, actions=WORLDS[world], fills="touch")
    base = random_policy(truth, 1, hold=2.0)
    new = moved(base, random_policy(truth, 2), by)
    return Arena(truth, wrong, Soft(network=base, epsilon=0.05), Soft(network=new))


def one(world: str, number: int) -> tuple[float, Verdict | None, Verdict | None]:
    """What the new policy really earns on markets of its own, and what two simulators make of the log."""
    here = arena(world, number, BY)
    paid = on_policy(here.new, here.truth, range(1_000_000 + 8 * number, 1_000_008 + 8 * number))
    log = logged(here.old, here.truth, number)
    found: list[Verdict | None] = []
    for place in (here.truth, here.wrong):
        try:
            found.append(judge(log, here.new, place.dataset, rollouts=2, seed=number))
        except TooFew:
            found.append(None)
    return paid, found[0], found[1]


def table(world: str, logs: int) -> dict[str, Any]:
    """Of one world: bias, error and coverage of each estimate."""
    runs = [one(world, number) for number in range(logs)]
    truth = float(np.mean([run[0] for run in runs]))
    told: dict[str, Any] = {
        "truth": truth,
        "refused": sum(run[1] is None for run in runs),
        "effective": float(np.mean([run[1].weights.episodes.min() for run in runs if run[1]])),
        "old": float(np.mean([run[1].old.value for run in runs if run[1]])),
    }
    for place, which in enumerate(("right", "wrong"), 1):
        kept = [run[place] for run in runs if run[place] is not None]
        told[which] = {name: _scored([found.intervals[name] for found in kept], truth) for name in NAMES}
        told[which]["agreed"] = float(np.mean([found.agreed for found in kept]))
    return told


def _scored(intervals: list[Any], truth: float) -> dict[str, float]:
    away = np.array([found.value for found in intervals]) - truth
    within = [found.low <= truth <= found.high for found in intervals]
    return {
        "bias": float(away.mean()),
        "bias_error": float(away.std(ddof=1) / np.sqrt(len(away))),
        "rmse": float(np.sqrt((away**2).mean())),
        "covered": float(np.mean(within)),
        "width": float(np.mean([found.high - found.low for found in intervals])),
    }


class Held(NamedTuple):
    """Of one log: how much of it counts, whether it passes the other checks, which intervals hold the truth."""

    number: float
    passes: bool
    covered: tuple[bool, ...]
    away: tuple[float, ...]


def by_number(world: str, logs: int) -> list[dict[str, Any]]:
    """How often intervals of the wrong simulator hold, by how many episodes count, where nothing is refused."""
    found: list[Held] = []
    for by in FAR:
        runs, paid = [], []
        for number in range(logs):
            here = arena(world, number, by)
            paid.append(on_policy(here.new, here.truth, range(2_000_000 + 4 * number, 2_000_004 + 4 * number)))
            weights = weighed(logged(here.old, here.truth, number), here.new, None)
            runs.append((weights, estimate(weights, here.wrong.dataset, rollouts=1, seed=number)))
        truth = float(np.mean(paid))
        found += [_held(weights, told, truth) for weights, told in runs]
    lines = []
    for least, most in pairwise(BINS):
        many = [one for one in found if least <= one.number < most]
        line: dict[str, Any] = {"from": least, "below": most, "logs": len(many)}
        for which, kept in (("all", many), ("passed", [one for one in many if one.passes])):
            line[which] = {"logs": len(kept)}
            for at, name in enumerate(SHOWN):
                line[which][name] = float(np.mean([one.covered[at] for one in kept])) if kept else None
                line[which][f"{name}_rmse"] = (
                    float(np.sqrt(np.mean([one.away[at] ** 2 for one in kept]))) if kept else None
                )
        lines.append(line)
    return lines


def _held(weights: Weighed, told: Verdict, truth: float) -> Held:
    intervals = [told.intervals[name] for name in SHOWN]
    try:
        check_weights(weights.weights, len(weights.event), 0.0)
        passes = True
    except TooFew:
        passes = False
    return Held(
        float(told.weights.episodes.min()),
        passes,
        tuple(one.low <= truth <= one.high for one in intervals),
        tuple(one.value - truth for one in intervals),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only-numbers", action="store_true", help="the second table alone")
    options = parser.parse_args()
    logs = 10 if options.quick else 200
    began = time.monotonic()
    worlds = {}
    for world in () if options.only_numbers else WORLDS:
        worlds[world] = told = table(world, logs)
        print(f"{world}: the new policy earns {told['truth']:.3f}, the old one {told['old']:.3f}")
        print(
            f"  {told['refused']} of {logs} logs refused; {told['effective']:.0f} of 120 episodes count in the others"
        )
        for which in ("right", "wrong"):
            for name in NAMES:
                s = told[which][name]
                print(f"  {which:5} {name:5} bias {s['bias']:+.3f} ± {s['bias_error']:.3f}  rmse {s['rmse']:.3f}  "
                      f"covered {s['covered']:.1%}  width {s['width']:.2f}")  # fmt: skip
    numbers = by_number("reverting", logs)
    for line in numbers:
        print(f"{line['from']} to {line['below']} of 120 count")
        for which in ("all", "passed"):
            told = line[which]
            print(f"  {which:6} {told['logs']:4} logs", *(f"{name} {told[name]:.1%}" for name in SHOWN if told["logs"]))
    passed = all(
        min(told[which]["dr"]["covered"] for which in ("right", "wrong")) >= COVERS
        and told["right"]["dr"]["rmse"] < told["right"]["is"]["rmse"]
        for told in worlds.values()
    )
    whole = {"bench": "offpolicy", "logs": logs, "passed": passed, "worlds": worlds, "by_number": numbers}
    print(json.dumps({**whole, "seconds": round(time.monotonic() - began, 1), "machine": machine()}))


if __name__ == "__main__":
    main()
