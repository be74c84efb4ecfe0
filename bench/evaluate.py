"""What judging a policy costs: 1,000 episodes under three fill models, against the scalar Gymnasium environment.

    python bench/evaluate.py [--quick]

Made-up markets (world `fair`), each cut into four episodes of 225 s with a decision each 250 ms; a network of 64 and 64
units that holds most of the time. The batched side plays all episodes under the three models of the band, keeps every
order and fill, and sums up (bootstrap, markouts, drawdown). The scalar side plays the same episodes and models with the
same network through gymnasium.make, and keeps nothing but the equity: a tenth of them, since it does one decision like
another; without latency nothing is drawn, so both come to the same equity, which is checked. One thread; rates are of
CPU time. Criterion: >= 50 times.
"""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import resource
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gymnasium
import numpy as np
from measure import alternate, arguments, repeats, report

import kflow.rl  # noqa: F401 - registers the environment
from kflow.evaluate import parts, summary
from kflow.evaluate.contestants import Contestant, of_network
from kflow.evaluate.held import Held, hold_out
from kflow.evaluate.run import play
from kflow.policy.features import FEATURES
from kflow.policy.network import Layout, Network
from kflow.replay.tapes import fees_of
from kflow.rl.batch import Setup
from kflow.rl.episodes import Listed
from kflow.rl.worlds import make_tapes
from kflow.sim.fills import BAND, MODELS, NO_LATENCY, Assumptions
from kflow.sim.tape import Tape

ROWS = 900  # decisions of an episode
SHARE = 10  # of the episodes the scalar side plays one in so many


def assume(tape: Tape) -> Assumptions:
    return Assumptions(latency=NO_LATENCY, fees=fees_of(tape)[0])


def network() -> Network:
    """Random weights that lean to hold."""
    rng = np.random.default_rng(7)
    layout = Layout(observation=len(FEATURES), actions=21)
    arrays = {name: (rng.standard_normal(shape) * 0.3).astype(np.float32) for name, shape in layout.shapes().items()}
    arrays["policy.2.bias"][0] += 4.0
    return Network(layout, arrays)


class Batched:
    """All of it, as `kflow evaluate` does it for one contestant."""

    def __init__(self, held: Held, contestant: Contestant, threads: int) -> None:
        self.held, self.contestant, self.threads = held, contestant, threads
        self.equity: dict[str, list[int]] = {}
        self.seconds = {"play": 0.0, "keep": 0.0, "sum up": 0.0}

    def __call__(self) -> int:
        with tempfile.TemporaryDirectory() as folder:
            if self.threads == 1:
                return sum(self.one(name, folder) for name in BAND)
            with ThreadPoolExecutor(self.threads) as pool:
                return sum(pool.map(self.one, BAND, [folder] * len(BAND)))

    def one(self, name: str, folder: str) -> int:
        """One fill model: played, kept, summed up."""
        began = time.thread_time()
        played = play(self.contestant, self.held, MODELS[name], seeds=[0])
        at = time.thread_time()
        parts.save(Path(folder), parts.Unit("it", name, 1), played)
        kept = time.thread_time()
        actions = [action.name for action in self.contestant.setup.actions.actions]
        summary.summarise(played, self.held.markets, variants=1, action_names=actions)
        done = time.thread_time()
        for part, seconds in zip(self.seconds, (at - began, kept - at, done - kept), strict=True):
            self.seconds[part] += seconds
        self.equity[name] = played[0].episodes.equity.tolist()
        return int(played[0].episodes.steps.sum())


class Scalar:
    """One in SHARE of the episodes, one decision after the other."""

    def __init__(self, held: Held, contestant: Contestant, net: Network) -> None:
        self.held, self.network = held, net
        self.chosen = range(0, len(held.episodes), SHARE)
        self.setup = contestant.setup
        self.equity: dict[str, list[int]] = {}

    def __call__(self) -> int:
        decisions = 0
        for name in BAND:
            env = gymnasium.make("kflow/KalshiMarket-v0", dataset=self.held.under(MODELS[name]), setup=self.setup)
            env.unwrapped.batch.episodes = Listed([self.held.episodes[place] for place in self.chosen])
            self.equity[name] = []
            for _ in self.chosen:
                seen, _ = env.reset()
                over = False
                while not over:
                    seen, _, terminated, truncated, info = env.step(self.network.act(seen))
                    over = terminated or truncated
                    decisions += 1
                self.equity[name].append(info["equity_e6"])
        return decisions


def main() -> None:
    args = arguments(str(__doc__), full=5, quick=3).parse_args()
    markets = 25 if args.quick else 250
    held = hold_out(make_tapes("fair", markets, seed=1), assume, every_us=250_000)
    held = held.of_events({span.event for span in held.dataset.spans}, ROWS, 4 * markets)
    net = network()
    contestant = of_network("it", net, "ppo", Setup())
    batched, double = (Batched(held, contestant, threads) for threads in (1, 2))
    scalar = Scalar(held, contestant, net)
    medians = alternate({"batched": batched, "two threads": double, "scalar": scalar}, repeats(args))
    for name in BAND:
        for side in (batched, double):
            assert [side.equity[name][place] for place in scalar.chosen] == scalar.equity[name], name
    rounds = repeats(args) + 1
    ratio = medians["two threads"].per_s / medians["scalar"].per_s
    ratio_cpu = medians["batched"].per_cpu_s / medians["scalar"].per_cpu_s
    told = ", ".join(f"{part} {seconds / rounds:.2f}" for part, seconds in batched.seconds.items())
    print(f"{len(held.episodes):,} episodes x {len(BAND)} fill models: {medians['batched'].cpu_s:.2f} CPU s: {told}")
    print(
        f"the same through the scalar environment: {medians['scalar'].cpu_s * SHARE:.1f} CPU s, {ratio_cpu:.1f} times"
    )
    print(f"two threads: {medians['two threads'].wall_s:.2f} s, {ratio:.1f} times faster than the scalar one")
    report(
        "evaluate",
        medians,
        ratio,
        ratio_cpu=ratio_cpu,
        packages=("gymnasium", "numba"),
        episodes=len(held.episodes),
        decisions=medians["batched"].units,
        data_set_mb=round(held.dataset.nbytes / 1e6),
        peak_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        cpu_s={part: round(seconds / rounds, 3) for part, seconds in batched.seconds.items()},
    )


if __name__ == "__main__":
    main()
