"""Queue models against exact FIFO: who predicts whether and when an order at the back of its level is filled?

    python bench/fifo.py            # 40,000 orders a case, fitted to 16,000 others
    python bench/fifo.py --quick    # 2,000 orders a case, fitted to 1,500 others

The models see what a level-2 feed shows: sizes of levels, and trades. Five cases of one level that is played order by
order (`kflow.testing.fifo`: rates and horizon are ours, the shares filled those of market facts, section 6), then the
touch of the exchange's own engine under its crowd (`kflow.testing.enginetape`), with orders of one contract that stay
for two seconds.

`calibrated`: the queue model with omega and n fitted (`kflow.sim.fitting`) to other plays of the same case, by the mean
error of the time to the fill, cut at the horizon. `log` (shares by ln(1 + size)) and `trades only` (cancellations never
count) are written here. P: share predicted to fill. Brier: share of wrong predictions, which are yes or no. s: mean
error of the time to the fill, cut at the horizon, of orders that fill in truth or by the model.

Criterion: in each case the Brier score of `calibrated` is within two standard errors of the best one's, paired, by
order (by market for the engine's).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from measure import machine
from numba import njit
from numpy.typing import NDArray

from kflow.sim.fills import MODELS, FillModel
from kflow.sim.fitting import Fit, fit
from kflow.sim.tape import ADD, CANCEL, TRADE
from kflow.testing.enginetape import crowd_probes
from kflow.testing.fifo import CASES, KIND, OWN, SIZE, US, Paths, Probes, play

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
BATCH = 4000
QUEUE = MODELS["queue"]
NAMED: Mapping[str, FillModel] = {
    **MODELS,
    "power n=2": QUEUE.fitted(0.5, 2.0),
    "power n=3": QUEUE.fitted(0.5, 3.0),
}
TRAIN, TEST = 0, 1  # seeds
HOLD_S = 2.0


@dataclass(frozen=True)
class Lot:
    """Orders on one tape. `paths`: how they were played, where they were."""

    probes: Probes
    paths: Paths | None = None


@dataclass(frozen=True)
class Bout:
    """One case. `alone`: orders share nothing, else those of a lot do."""

    train: Callable[[], Iterator[Lot]]
    test: Callable[[], Iterator[Lot]]
    alone: bool
    aim: float | None = None  # published share filled


def fifo(name: str, train: int, test: int) -> Bout:
    case = CASES[name]

    def lots(count: int, use: int) -> Iterator[Lot]:
        for batch, first in enumerate(range(0, count, BATCH)):
            paths = play(case, min(BATCH, count - first), (list(CASES).index(name), use, batch))
            yield Lot(paths.probes(), paths)

    return Bout(lambda: lots(train, TRAIN), lambda: lots(test, TEST), alone=True, aim=case.truth)


def engine(train: int, test: int) -> Bout:
    def lots(markets: range) -> Iterator[Lot]:
        for seed in markets:
            yield Lot(crowd_probes(seed, every_s=1.0, hold_s=HOLD_S))

    return Bout(lambda: lots(range(train)), lambda: lots(range(10_000, 10_000 + test)), alone=False)


def calibrate(bout: Bout) -> Fit:
    lots = [lot.probes for lot in bout.train()]

    def losses(ahead: float, power: float) -> F64:
        errors = [probes.errors_s(QUEUE.fitted(ahead, power)) for probes in lots]
        return np.concatenate(errors) if bout.alone else np.array([error.sum() for error in errors])

    return fit(losses)


@njit(cache=True)
def followed(us, kind, size, start_us, until_us, ahead, own, trades_only):
    """When an order of each play is filled by the two models that the kernel does not know; -1 where it is not."""
    filled_us = np.full(len(start_us), -1, np.int64)
    cursor = 0
    for path in range(len(start_us)):
        while cursor < len(us) and us[cursor] <= start_us[path]:
            cursor += 1
        level, front, left = float(ahead), float(ahead), float(own)
        while cursor < len(us) and us[cursor] <= until_us[path]:
            if kind[cursor] == ADD:
                level += size[cursor]
            elif kind[cursor] == CANCEL:
                behind = max(level - front, 0.0)
                if not trades_only and front > 0:
                    weight = np.log1p(front)
                    part = size[cursor] * weight / (weight + np.log1p(behind))
                    front = max(front - max(part, size[cursor] - behind), 0.0)
                level -= size[cursor]
            else:
                left -= max(size[cursor] - front, 0.0)
                front = max(front - size[cursor], 0.0)
                level -= size[cursor] if kind[cursor] == TRADE else 0.0
            if left <= 0 and filled_us[path] < 0:
                filled_us[path] = us[cursor]
            cursor += 1
    return filled_us


def answers(lot: Lot, calibrated: FillModel) -> dict[str, I64]:
    """When each order is filled, by model."""
    found = {name: lot.probes.predicted(model) for name, model in NAMED.items()}
    if lot.paths is not None:
        columns = (np.ascontiguousarray(lot.paths.events[:, column]) for column in (US, KIND, SIZE))
        given = (*columns, lot.paths.start_us, lot.paths.until_us, lot.paths.case.ahead, OWN)
        found |= {"log": followed(*given, False), "trades only": followed(*given, True)}
    return {**found, "calibrated": lot.probes.predicted(calibrated)}


class Tally:
    """What every model said of a case's orders, and what is true."""

    def __init__(self, bout: Bout) -> None:
        self._bout = bout
        self.orders = self.filled = 0
        self.wrong: dict[str, list[F64]] = {}  # per order, or per lot
        self.late: dict[str, list[F64]] = {}
        self.yes: dict[str, int] = {}

    def add(self, lot: Lot, calibrated: FillModel) -> None:
        probes, truth = lot.probes, lot.probes.filled_us >= 0
        self.orders, self.filled = self.orders + len(truth), self.filled + int(truth.sum())
        for model, us in answers(lot, calibrated).items():
            miss = ((us >= 0) != truth).astype(np.float64)
            error = np.abs(probes.wait_s(us) - probes.wait_s(probes.filled_us))
            self.wrong.setdefault(model, []).append(miss if self._bout.alone else miss.sum(keepdims=True))
            self.late.setdefault(model, []).append(error[(us >= 0) | truth])
            self.yes[model] = self.yes.get(model, 0) + int((us >= 0).sum())

    def rows(self) -> dict[str, dict[str, float]]:
        return {
            model: {
                "p": self.yes[model] / self.orders,
                "brier": float(sum([part.sum() for part in parts])) / self.orders,
                "s": float(np.concatenate(self.late[model]).mean()),
            }
            for model, parts in self.wrong.items()
        }

    def more(self, model: str, other: str) -> tuple[float, float]:
        """How much worse a model's Brier score is than another's, and the standard error of that."""
        units = np.concatenate(self.wrong[model]) - np.concatenate(self.wrong[other])
        return float(units.sum()) / self.orders, float(units.std() * np.sqrt(len(units))) / self.orders


def judge(name: str, bout: Bout) -> dict[str, Any]:
    """Fit, predict, print."""
    began = time.perf_counter()
    fitted, tally = calibrate(bout), Tally(bout)
    for lot in bout.test():
        tally.add(lot, QUEUE.fitted(fitted.ahead, fitted.power))
    rows = tally.rows()
    best = min(rows, key=lambda model: rows[model]["brier"])
    more, error = tally.more("calibrated", best)
    truth = tally.filled / tally.orders
    aim = f" (published {bout.aim})" if bout.aim is not None else ""
    print(f"\n{name}: truth {truth:.3f}{aim}, {tally.orders:,} orders, {time.perf_counter() - began:.0f} s")
    for model, row in rows.items():
        print(f"  {model:18} P {row['p']:.3f}   Brier {row['brier']:.4f}   {row['s']:6.2f} s")
    print(f"  omega {told(fitted.ahead, fitted.ahead_interval, fitted.ahead_identified)}")
    print(f"  n {told(fitted.power, fitted.power_interval, fitted.power_identified)}")
    verdict = "yes" if more <= 2 * error else "no"
    print(f"  calibrated within 2 s.e. of the best: {verdict} ({best}, {more:+.4f} +- {error:.4f})", flush=True)
    return {
        "truth": round(truth, 4),
        "orders": tally.orders,
        "omega": round(fitted.ahead, 4),
        "n": round(fitted.power, 4),
        "identified": fitted.identified,
        "best": best,
        "more": round(more, 5),
        "standard_error": round(error, 5),
        "within": verdict == "yes",
        "models": {model: {key: round(value, 4) for key, value in row.items()} for model, row in rows.items()},
    }


def told(value: float, interval: tuple[float, float], identified: bool) -> str:
    return f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f}{'' if identified else ', not identified'})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="2,000 orders a case")
    quick = parser.parse_args().quick
    bouts = {name: fifo(name, *((1500, 2000) if quick else (16_000, 40_000))) for name in CASES}
    bouts["the exchange's own touch"] = engine(*((16, 20) if quick else (100, 200)))
    cases = {name: judge(name, bout) for name, bout in bouts.items()}
    held = sum([case["within"] for case in cases.values()])
    print(f"\ncalibrated within 2 s.e. of the best in {held} of {len(cases)} cases")
    print(json.dumps({"bench": "fifo", "ratio": held / len(cases), "cases": cases, "machine": machine()}))


if __name__ == "__main__":
    main()
