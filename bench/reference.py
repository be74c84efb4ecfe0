"""The compiled environment against the plain one, decision by decision: the same to the bit, and how much faster.

    python bench/reference.py [--quick] [--steps 1000000]

Every action set on every kind of tape by every fill model (`kflow/testing/reference.py`), with and without latency and
fees, random actions: any, allowed ones, and mostly resting ones. Compared after each decision: the mask before it,
observation, reward, ending, cash, position, reserve, fees, every field of every order. Rates are of CPU time, each
side's masks included; 16 accounts are a small batch, so the kernel's rate is mostly Python around it.

Criterion: no decision differs. `ratio` is how much faster the batch is, the median of the cases.
"""

from __future__ import annotations

import statistics
from collections import Counter
from itertools import count
from math import ceil

from measure import Timing, arguments, report

from kflow.testing.reference import Tally, cases, compare

ACCOUNTS = 16
DECISIONS = 250  # of each account and case


def timing(rates: list[float], steps: int, seconds: float) -> Timing:
    """Rates of the cases, by CPU time."""
    per_s = statistics.median(rates)
    return Timing(steps, seconds, seconds, per_s, per_s, min(rates), max(rates))


def main() -> None:
    parser = arguments("The compiled environment against the plain one.", full=1, quick=1)
    parser.add_argument("--steps", type=int, help="decisions that are compared (default: 1000000, quick 30000)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    wanted = options.steps or (30_000 if options.quick else 1_000_000)
    every = len(list(cases(0)))
    decisions = min(DECISIONS, ceil(wanted / every / ACCOUNTS))
    compare(next(cases(0)), 2)  # compiles
    tallies: list[Tally] = []
    wrong: list[str] = []
    for seed in count(options.seed):
        for case in cases(seed):
            tallies.append(compare(case, decisions, ACCOUNTS))
            for line in tallies[-1].wrong:
                print(f"{case}: {line}", flush=True)
            wrong += tallies[-1].wrong
        done = sum(tally.steps for tally in tallies)
        print(f"{done:,} decisions, {len(wrong)} differences", flush=True)
        if done >= wanted:
            break
    seen = sum((tally.seen for tally in tallies), Counter[str]())
    kernel_s, plain_s = sum(tally.kernel_s for tally in tallies), sum(tally.plain_s for tally in tallies)
    report(
        "reference",
        {
            "kernel": timing([tally.steps / tally.kernel_s for tally in tallies], done, kernel_s),
            "plain": timing([tally.steps / tally.plain_s for tally in tallies], done, plain_s),
        },
        statistics.median(tally.plain_s / tally.kernel_s for tally in tallies),
        packages=("numpy", "numba"),
        steps=done,
        mismatches=len(wrong),
        cases=len(tallies),
        seen=dict(seen.most_common()),
    )


if __name__ == "__main__":
    main()
