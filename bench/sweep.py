"""A sweep in two processes against the same sweep in one: what a pool that stays gains.

.venv/bin/python bench/sweep.py
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from measure import alternate, arguments, repeats, report

from kflow.rl import workers
from kflow.rl.plan import Plan, Source
from kflow.rl.presets import hyper_of
from kflow.rl.searching import read_space
from kflow.rl.sweep import Asked, Sweep, begin
from kflow.rl.workers import Workers
from kflow.rl.worlds import make_tapes
from kflow.sim.fills import NO_LATENCY
from kflow.sim.tape import Tape

WORKERS = 2
FOLDS, SEEDS, TRIALS = 3, 2, 2
MARKETS = 6


def asked(steps: int) -> Asked:
    hyper = hyper_of("ppo", "kflow")
    plan = Plan(
        hyper=hyper,
        envs=64,
        steps=steps,
        source=Source(world="reverting", count=MARKETS),
        held_share=0.0,
        sizes=(500,),
        max_order=500,
        max_position=2_000,
        orders=8,
        cash=10_000_000_000,
        latency=NO_LATENCY,
        episode_us=60_000_000,
        evaluate_episodes=16,
    )
    space = read_space(["learning_rate=1e-3,5e-4"], hyper)
    return Asked(plan=plan, space=space, sampler="grid", pruner="none", folds=FOLDS, seeds=SEEDS, trials=TRIALS)


def sweep(root: Path, name: str, ask: Asked, tapes: list[Tape], means: Workers) -> dict[str, str]:
    """A new sweep to its end; weights of each unit."""
    folder = root / name
    folder.mkdir()
    begin(ask, tapes, folder, ())
    with Sweep(folder) as going:
        going.run(means)
        found = going.weights()
    shutil.rmtree(folder)
    return found


def main() -> None:
    options = arguments(__doc__ or "", full=5, quick=1).parse_args()
    ask = asked(8_192 if options.quick else 65_536)
    tapes = make_tapes("reverting", MARKETS, seed=0)
    rollout = ask.plan.envs * int(ask.plan.hyper["n_steps"])
    steps = TRIALS * FOLDS * SEEDS * -(-ask.plan.steps // rollout) * rollout
    names = map(str, itertools.count())
    seen: list[dict[str, str]] = []
    with tempfile.TemporaryDirectory() as folder, workers.here() as here, workers.pool(WORKERS) as pool:
        root = Path(folder)

        def case(means: Workers) -> Callable[[], int]:
            def run() -> int:
                seen.append(sweep(root, next(names), ask, tapes, means))
                return steps

            return run

        medians = alternate({"sequential": case(here), f"pool of {WORKERS}, warm": case(pool)}, repeats(options))
    assert all(weights == seen[0] for weights in seen), "the same units came to other weights"
    report(
        "sweep",
        medians,
        ratio=medians[f"pool of {WORKERS}, warm"].per_s / medians["sequential"].per_s,
        packages=("torch", "stable-baselines3", "optuna"),
        units=TRIALS * FOLDS * SEEDS,
        steps_each=ask.plan.steps,
        weights_equal=True,
        cpu_of_the_pool="not counted: its processes go on",
    )


if __name__ == "__main__":
    main()
