"""How much more do simulated orders earn than the very same orders earned in the local exchange?

python bench/overestimation.py          # 100 markets of a minute for each strategy in two worlds, ten minutes
python bench/overestimation.py --quick  # 16 markets

Each strategy trades a busy made-up market whose crowd meets its orders in the real engine's queues. The same orders are
then simulated under every fill model on the tape of everybody else's deeds (`kflow/testing/twice.py`). The planted
world's takers know nothing, so that makers earn and a percentage means something; the fair world is told in dollars.
The queue is calibrated in each world on markets of its own. Fills are worth the crowd's belief right after them, a
martingale whose mean is that of the settlement; fees are the venue's. Errors are a jackknife's over markets. Per cent
are of the true profit's size, so a loss that is told too small is overestimation too.

"on paper": orders that were never placed, simulated on markets that never met them, against what the same strategy
really earned. It tells what own orders do to this crowd: its quotes stop short of a stranger's and leave him to takers
(docs/realism.md, rule 3), whereas on a tape that knows nothing of him they come to his price, and fill him when m has
passed it.

Criterion: in the planted world, the calibrated queue is less than 10 % off for makers, for all orders that rest, and
for all there are.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from measure import machine
from numpy.typing import NDArray

from kflow.exchange.belief import FAIR, Edge
from kflow.sim.fills import MODELS, FillModel
from kflow.testing.twice import GROUPS, STRATEGIES, Fills, Played, fitted, play, simulate

F64 = NDArray[np.float64]

WORLDS: Final[Mapping[str, Edge]] = {"planted": Edge(uninformed=1.0), "fair": FAIR}
RESTING: Final = (*GROUPS["makers"], *GROUPS["patient buyers"])
ROWS: Final = {**GROUPS, "all that rest": RESTING, "all": tuple(STRATEGIES)}
CALIBRATED: Final = "queue-calibrated"
PLAIN: Final = ("touch", "probabilistic", "queue-pessimistic", "queue", "queue-optimistic")
ON_PAPER: Final = ("touch", CALIBRATED)
CASES: Final = ("truth", *PLAIN, CALIBRATED, *[f"{name}, on paper" for name in ON_PAPER])
JUDGED: Final = ("makers", "all that rest", "all")
LIMIT: Final = 10.0  # per cent
# Markets of the fit: none of those that are judged.
_FIT_SEED: Final = 1_000_000
# What is counted of each case.
PROFIT, FILLED, WANTED = range(3)


class Job(NamedTuple):
    """A market of a world, for all strategies."""

    world: str
    seed: int
    calibrated: FillModel


def trained(job: tuple[str, int]) -> list[Played]:
    world, seed = job
    return [play(name, _FIT_SEED + seed, edge=WORLDS[world]) for name in RESTING]


def one(job: Job) -> F64:
    """[strategies, CASES, 3]"""
    models = {**{name: MODELS[name] for name in PLAIN}, CALIBRATED: job.calibrated}
    rows = []
    for name in STRATEGIES:
        really = play(name, job.seed, edge=WORLDS[job.world])
        paper = play(name, job.seed, edge=WORLDS[job.world], paper=True)
        cases = [(really, really.fills)]
        cases += [(really, simulate(really, model, seed=job.seed)) for model in models.values()]
        cases += [(paper, simulate(paper, models[model], seed=job.seed)) for model in ON_PAPER]
        rows.append([counted(played, fills) for played, fills in cases])
    return np.array(rows)


def counted(played: Played, fills: Fills) -> tuple[float, float, float]:
    return played.profit(fills), float(fills.size.sum()), float(played.orders[:, 3].sum())


def jackknife(values: F64, figure: Any) -> tuple[float, float]:
    """A figure of sums over markets [markets, ...], and its standard error."""
    total, count = values.sum(axis=0), len(values)
    without = np.array([figure(total - value) for value in values])
    error = np.sqrt((count - 1) / count * np.sum((without - without.mean()) ** 2))
    return float(figure(total)), float(error)


def over(sums: F64) -> float:
    """Per cent of the true profit, whatever its sign: sums are [true, simulated]."""
    return 100 * (sums[1] - sums[0]) / abs(sums[0])


def table(counts: F64) -> dict[str, dict[str, dict[str, float]]]:
    """By group and case. `counts`: [markets, strategies, CASES, 3]."""
    names, markets = list(STRATEGIES), len(counts)
    told: dict[str, dict[str, dict[str, float]]] = {}
    for group, members in ROWS.items():
        cases = counts[:, [names.index(name) for name in members]].sum(axis=1)
        told[group] = {}
        for place, case in enumerate(CASES):
            profit, error = jackknife(cases[:, place, PROFIT], lambda total: total / markets)
            wrong, wrong_error = jackknife(cases[:, [0, place], PROFIT], over)
            more, more_error = jackknife(cases[:, place, PROFIT] - cases[:, 0, PROFIT], lambda total: total / markets)
            filled, wanted = cases[:, place, [FILLED, WANTED]].sum(axis=0)
            row = {"profit": profit, "profit_error": error, "over_percent": wrong, "over_error": wrong_error}
            row |= {"over_dollars": more, "over_dollars_error": more_error, "filled": filled / wanted}
            told[group][case] = {key: round(float(value), 3) for key, value in row.items()}
    return told


def show(world: str, told: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    print(f"\n{world}: dollars a market, and more than the truth; share of contracts filled")
    for group, cases in told.items():
        for case, row in cases.items():
            line = f"{group:15} {case:26} {row['profit']:9.3f} +- {row['profit_error']:6.3f} $"
            if case != "truth":
                line += f" {row['over_dollars']:+9.3f} +- {row['over_dollars_error']:6.3f} $"
                line += f" {row['over_percent']:+7.1f} +- {row['over_error']:4.1f} %"
            else:
                line += " " * 38
            print(f"{line}   filled {row['filled']:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markets", type=int, help="in each world (default: 100, quick 16)")
    parser.add_argument("--quick", action="store_true", help="16 markets, and 12 to fit; under two minutes")
    options = parser.parse_args()
    markets = options.markets or (16 if options.quick else 100)
    training = 12 if options.quick else 40
    began = time.perf_counter()
    results: dict[str, Any] = {}
    with multiprocessing.Pool() as pool:
        for world in WORLDS:
            fit = fitted(pool.map(trained, [(world, seed) for seed in range(training)], chunksize=1))
            calibrated = MODELS["queue"].fitted(fit.ahead, fit.power)
            counts = np.array(pool.map(one, [Job(world, seed, calibrated) for seed in range(markets)], chunksize=1))
            told = table(counts)
            show(world, told)
            parameters = {"ahead": fit.ahead, "ahead_interval": fit.ahead_interval}
            parameters |= {"power": fit.power, "power_interval": fit.power_interval, "identified": fit.identified}
            print(f"calibrated on {training} other markets: {parameters}", flush=True)
            results[world] = {"fit": parameters, "rows": told}
    wrong = {group: results["planted"]["rows"][group][CALIBRATED]["over_percent"] for group in JUDGED}
    met = all(abs(value) < LIMIT for value in wrong.values())
    print(f"\ncalibrated, planted: {wrong} % more than the truth; each less than {LIMIT:.0f}: {met}")
    line = {"bench": "overestimation", "met": met, "over_percent": wrong, "markets": markets, "training": training}
    print(json.dumps({**line, **results, "seconds": round(time.perf_counter() - began), "machine": machine()}))


if __name__ == "__main__":
    main()
