"""Is what can be learnt learnt, after how many steps, and for how much time? On markets whose optimum is known.

python bench/learning.py                       # PPO on three worlds, 5 seeds each: about 12 minutes
python bench/learning.py --algorithm a2c       # A2C: 80 % of the optimum of two worlds
python bench/learning.py --baseline            # beside SB3 on eight plain Python environments: about 15 minutes
python bench/learning.py --quick               # one seed of the easiest world

dollar: now and then YES and NO together cost 80 cents. reverting: the price swings around 50 cents. maker: a wide
spread and takers who know nothing. Orders of 5 contracts, 20 at most held, a decision every 250 ms for 15 minutes; the
optimum is worked out (kflow.rl.oracles). A row: steps and CPU seconds of training after which the greedy policy earns
the target on 32 held-out markets, looked at every 40,000 steps or so; and what it earns at the end.

--baseline: the same hyper-parameters, seeds and episodes with eight environments, compiled and in plain Python. Both
take the same decisions, so weights are compared, and the difference is time alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
from collections.abc import Sequence
from typing import Any

from measure import machine

from kflow.testing.learning import LESSONS, Lesson, Point, compiled, learn, plain, reached

STEPS = {"ppo": 500_000, "a2c": 600_000}
TARGET = {"ppo": 0.9, "a2c": 0.8}
WORLDS = {"ppo": tuple(LESSONS), "a2c": ("dollar", "reverting")}
# A rollout as that of the preset, of fewer environments.
BASELINE = (("n_steps", "1024"),)


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": round(statistics.median(values), 3), "min": round(min(values), 3), "max": round(max(values), 3)}


def told(name: str, runs: Sequence[Sequence[Point]], target: float) -> dict[str, Any]:
    """What came of all seeds of a lesson, printed and returned."""
    found = [point for points in runs if (point := reached(points, target))]
    line: dict[str, Any] = {"seeds": len(runs), "reached": len(found)}
    if found:
        line["steps"] = spread([point.steps for point in found])
        line["cpu_s"] = spread([point.cpu_s for point in found])
    line["final"] = spread([points[-1].share for points in runs])
    print(f"{name:24} {json.dumps(line)}", flush=True)
    return line


def weights(model: Any) -> str:
    arrays = [value.numpy().tobytes() for value in model.policy.state_dict().values()]
    return hashlib.sha256(b"".join(arrays)).hexdigest()[:16]


def lessons(algorithm: str, worlds: Sequence[str], seeds: int, steps: int) -> dict[str, Any]:
    target = TARGET[algorithm]
    rows = {}
    for world in worlds:
        runs = [learn(Lesson(world=world, algorithm=algorithm), seed, steps)[0] for seed in range(seeds)]
        rows[f"{algorithm}, {world}"] = told(f"{algorithm}, {world}", runs, target)
    return rows


def baseline(world: str, seeds: int, steps: int) -> dict[str, Any]:
    lesson = Lesson(world=world, envs=8, changes=BASELINE)
    rows: dict[str, Any] = {}
    ends: dict[str, list[str]] = {}
    for name, make in (("compiled", compiled), ("plain Python", plain)):
        runs, ends[name] = [], []
        for seed in range(seeds):
            points, model = learn(lesson, seed, steps, every=8_192, enough=TARGET["ppo"], make=make)
            runs.append(points)
            ends[name].append(weights(model))
        rows[name] = told(f"{name}, {world}", runs, TARGET["ppo"])
    rows["same weights"] = ends["compiled"] == ends["plain Python"]
    spent = [rows[name].get("cpu_s", {}).get("median") for name in ("plain Python", "compiled")]
    rows["ratio of CPU seconds"] = round(spent[0] / spent[1], 2) if all(spent) else None
    print(f"same weights: {rows['same weights']}; CPU seconds, plain to compiled: {rows['ratio of CPU seconds']}")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--algorithm", choices=tuple(STEPS), default="ppo")
    parser.add_argument("--worlds", nargs="+", choices=tuple(LESSONS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--baseline", action="store_true")
    options = parser.parse_args()
    steps = options.steps or (100_000 if options.quick else STEPS[options.algorithm])
    seeds = 1 if options.quick else options.seeds
    worlds = options.worlds or (("dollar",) if options.quick else WORLDS[options.algorithm])
    rows = baseline(worlds[0], seeds, steps) if options.baseline else lessons(options.algorithm, worlds, seeds, steps)
    line = {"bench": "learning", "steps": steps, "target": TARGET[options.algorithm], "rows": rows}
    print(json.dumps(line | {"machine": machine(("stable-baselines3", "torch"))}))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
