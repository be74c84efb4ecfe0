"""Does anybody earn from the synthetic crowd? Five simple strategies over many settled markets, and planted edges.

python bench/fairness.py                # 2,000 markets of 30 s for each strategy, about ten minutes on two cores
python bench/fairness.py --quick        # 100 markets

A row is a strategy: mean profit a market after fees, its standard error, and the lower 99 % bound of the mean corrected
for the number of strategies tried. Fair: no bound above 0. Found: the bound of a planted edge lies above 0.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import statistics
import sys
from collections.abc import Callable, Mapping

from measure import machine

from kflow.exchange.belief import FAIR, Edge
from kflow.testing.contest import STRATEGIES, Buyer, Strategy, lower_bound, profit

SECONDS = 30.0
PLANTED: Mapping[str, tuple[Callable[[], Strategy], Edge]] = {
    "touch maker, uninformed takers": (STRATEGIES["touch maker"], Edge(uninformed=1.0)),
    "buyer, results 10 points above belief": (Buyer, Edge(bias=0.1)),
}


def one(job: tuple[str, int]) -> int:
    name, seed = job
    make, edge = PLANTED[name] if name in PLANTED else (STRATEGIES[name], FAIR)
    return profit(make(), seed, edge=edge, seconds=SECONDS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markets", type=int, default=2000)
    parser.add_argument("--quick", action="store_true", help="100 markets")
    options = parser.parse_args()
    count = 100 if options.quick else options.markets
    rows: dict[str, dict[str, float]] = {}
    with multiprocessing.Pool() as pool:
        for name in (*STRATEGIES, *PLANTED):
            profits = pool.map(one, [(name, seed) for seed in range(count)], chunksize=10)
            error = statistics.stdev(profits) / math.sqrt(count)
            bound = lower_bound(profits, len(STRATEGIES))
            figures = {"mean": statistics.fmean(profits), "standard_error": error, "lower_bound": bound}
            rows[name] = {key: round(value / 1e6, 4) for key, value in figures.items()}
            row = rows[name]
            print(f"{name:40} {row['mean']:9.3f} +- {row['standard_error']:.3f} $, bound {row['lower_bound']:9.3f}")
            sys.stdout.flush()
    fair = all(rows[name]["lower_bound"] <= 0 for name in STRATEGIES)
    found = [name for name in PLANTED if rows[name]["lower_bound"] > 0]
    print(f"fair: {fair}; planted edges found: {len(found)} of {len(PLANTED)}")
    print(
        json.dumps(
            {"bench": "fairness", "markets": count, "fair": fair, "found": found, "rows": rows, "machine": machine()}
        )
    )


if __name__ == "__main__":
    main()
