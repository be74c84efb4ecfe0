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

Criterion: in each case the Brier score of `calibrated` is within two standard errors of the best one's, paired, by order
(by market for the engine's).
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
    horizon_s: float
    alone: bool
    aim: float | None = None  # published share filled


def fifo(name: str, train: int, test: int) -> Bout:
    case = CASES[name]

    def lots(count: int, use: int) -> Iterator[Lot]:
        for batch, first in enumerate(range(0, count, BATCH)):
            paths = play(case, min(BATCH, count - first), (list(CASES).index(name), use, batch))
            yield Lot(paths.probes(), paths)

    return Bout(lambda: lots(train, TRAIN), lambda: lots(test, TEST), case.horizon_s, alone=True, aim=case.truth)


def engine(train: int, test: int) -> Bout:
    def lots(markets: range) -> Iterator[Lot]:
        for seed in markets:
            yield Lot(crowd_probes(seed, every_s=1.0, hold_s=HOLD_S))

    return Bout(lambda: lots(range(train)), lambda: lots(range(10_000, 10_000 + test)), HOLD_S, alone=False)


def seconds(us: I64, probes: Probes, horizon_s: float) -> F64:
    """Time to the fill, cut at the horizon."""
    return np.where(us >= 0, np.minimum((us - probes.start_us) / 1e6, horizon_s), horizon_s)


def calibrate(bout: Bout) -> Fit:
    lots = [lot.probes for lot in bout.train()]

    def losses(ahead: float, power: float) -> F64:
        model = QUEUE.fitted(ahead, power)
        errors = []
        for probes in lots:
            ours, truth = (seconds(us, probes, bout.horizon_s) for us in (probes.predicted(model), probes.filled_us))
            errors.append(np.abs(ours - truth) if bout.alone else np.abs(ours - truth).sum(keepdims=True))
        return np.concatenate(errors)

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


def judge(name: str, bout: Bout) -> dict[str, Any]:
    """Fit, predict, print."""
    began = time.perf_counter()
    fitted = calibrate(bout)
    wrong: dict[str, list[F64]] = {}
    late: dict[str, list[F64]] = {}
    yes: dict[str, int] = {}
    filled = orders = 0
    for lot in bout.test():
        probes, truth = lot.probes, lot.probes.filled_us >= 0
        filled, orders = filled + int(truth.sum()), orders + len(truth)
        for model, us in answers(lot, QUEUE.fitted(fitted.ahead, fitted.power)).items():
            miss = ((us >= 0) != truth).astype(np.float64)
            error = np.abs(seconds(us, probes, bout.horizon_s) - seconds(probes.filled_us, probes, bout.horizon_s))
            wrong.setdefault(model, []).append(miss if bout.alone else miss.sum(keepdims=True))
            late.setdefault(model, []).append(error[(us >= 0) | truth])
            yes[model] = yes.get(model, 0) + int((us >= 0).sum())
    sums = {model: np.concatenate(parts) for model, parts in wrong.items()}
    rows = {
        model: {
            "p": yes[model] / orders,
            "brier": float(sums[model].sum() / orders),
            "s": float(np.concatenate(late[model]).mean()),
        }
        for model in sums
    }
    best = min(rows, key=lambda model: rows[model]["brier"])
    more = sums["calibrated"] - sums[best]
    error = float(more.std() * np.sqrt(len(more)) / orders)
    within = float(more.sum() / orders) <= 2 * error
    truth = f"truth {filled / orders:.3f}" + (f", published {bout.aim}" if bout.aim is not None else "")
    print(f"\n{name}: {truth}, {orders:,} orders, {time.perf_counter() - began:.0f} s")
    for model, row in rows.items():
        print(f"  {model:18} P {row['p']:.3f}   Brier {row['brier']:.4f}   {row['s']:6.2f} s")
    print(f"  omega {told(fitted.ahead, fitted.ahead_interval, fitted.ahead_identified)}")
    print(f"  n {told(fitted.power, fitted.power_interval, fitted.power_identified)}")
    print(f"  calibrated within 2 s.e. of the best ({best}, +-{error:.4f}): {'yes' if within else 'no'}", flush=True)
    return {
        "truth": round(filled / orders, 4),
        "orders": orders,
        "omega": round(fitted.ahead, 4),
        "n": round(fitted.power, 4),
        "identified": fitted.identified,
        "best": best,
        "standard_error": round(error, 5),
        "within": within,
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
