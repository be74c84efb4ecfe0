"""Is an edge told where there is none, and found where there is one?

python bench/null.py                       # some four minutes on two cores
python bench/null.py --quick               # fewer of everything
python bench/null.py --picture docs/pictures/null.png

null: random policies on markets without spread and fees, where every policy earns nothing in the mean: how often "no
edge" is rejected at 5 %, and whether the p-values are uniform. costs: the same with a spread of two cents and fees.
Each policy has markets of its own, so that the p-values are independent.

sizes: tests that could have been chosen, on made-up profits without an edge: how often each rejects at 5 %, in per
cent, and how often the chosen interval holds the truth. favourite: contracts at about that price, worth it.

power: a buyer who holds to the result in null markets whose results are YES more often than the market knows. And the
planted edges of the worlds, played by their known best.

Criterion: on the null 2 to 9.5 % are rejected and the p-values are uniform at 5 %; with costs 5 % at most.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from measure import arguments, machine
from numpy.typing import NDArray

from kflow.evaluate.inference import ALPHA, RESAMPLES, estimate, resamples, student_tail, tilted_tail, uniform
from kflow.evaluate.metrics import mean_over_spread
from kflow.rl.oracles import Terms
from kflow.rl.oracles import play as play_oracle
from kflow.rl.worlds import make_tapes, world_named
from kflow.testing import nulls

F64 = NDArray[np.float64]
# Profits, and what could have been lost and won.
Drawn = tuple[F64, F64, F64]
Draw = Callable[[np.random.Generator, int], Drawn]

EVENTS: Final = 30
JUDGED: Final = 200
SIZES: Final = (5, 12, 30, 60, 200)
BIASES: Final = (0.05, 0.1, 0.2, 0.3)
POWERS: Final = (12, 30, 60, 120, 250)
WORLDS: Final = ("dollar", "reverting", "maker")
FEW: Final = (5, 12, 30)
_REPEATS: Final = 500


# Profits without an edge.


def nothing(count: int) -> tuple[F64, F64]:
    return np.zeros(count), np.zeros(count)


def normal(rng: np.random.Generator, count: int) -> Drawn:
    return rng.normal(size=count), *nothing(count)


def heavy(rng: np.random.Generator, count: int) -> Drawn:
    return rng.standard_t(3, size=count), *nothing(count)


def seldom(rng: np.random.Generator, count: int) -> Drawn:
    return rng.normal(size=count) * (rng.random(count) < 0.2), *nothing(count)


def coins(rng: np.random.Generator, count: int) -> Drawn:
    price, size = rng.uniform(0.3, 0.7, count), rng.integers(1, 20, count)
    return np.where(rng.random(count) < price, size * (1 - price), -size * price), size * price, size * (1 - price)


def favourite(price: float, rng: np.random.Generator, count: int) -> Drawn:
    paid = np.clip(price + 0.02 * rng.normal(size=count), 0.6, 0.995)
    return np.where(rng.random(count) < paid, 1 - paid, -paid), paid, 1 - paid


def longshot(rng: np.random.Generator, count: int) -> Drawn:
    won, stakes, prizes = favourite(0.95, rng, count)
    return -won, prizes, stakes


def maker(rng: np.random.Generator, count: int) -> Drawn:
    """Nine gains of ten, and a loss nine times as large; $4 are at stake."""
    gains, losses = rng.normal(0.3, 0.3, count), rng.normal(-2.7, 1.0, count)
    return np.where(rng.random(count) < 0.9, gains, losses), np.full(count, 4.0), np.zeros(count)


SHAPES: Final[dict[str, Draw]] = {
    "normal": normal,
    "heavy tails (t3)": heavy,
    "trades in one event of five": seldom,
    "coins at 30 to 70 cents": coins,
    "favourite at 80 cents": partial(favourite, 0.8),
    "favourite at 90 cents": partial(favourite, 0.9),
    "favourite at 95 cents": partial(favourite, 0.95),
    "favourite at 98 cents": partial(favourite, 0.98),
    "longshot at 5 cents": longshot,
    "small gains, rare losses": maker,
}


def candidates(signs: F64, values: F64, stakes: F64, prizes: F64) -> dict[str, float]:
    """p of each test, and whether the chosen interval holds the truth."""
    count, mean = len(values), float(values.mean())
    spread = float(values.std(ddof=1))
    flipped = (signs @ values >= values.sum() - 1e-9 * np.abs(values).sum()).mean()
    means = resamples(count) @ values / count
    found = {"percentile": float((means <= 1e-12).mean()), "sign flip": float(flipped)}
    if spread > 1e-9 * np.abs(values).max():
        t = mean / spread * np.sqrt(count)
        found["Student"] = student_tail(t, count - 1)
        found["studentised"] = float((studentised(values - mean, spread) >= t - 1e-9).mean())
    else:
        found |= dict.fromkeys(("Student", "studentised"), 0.0 if mean > 0 else 1.0)
    found["tilted"] = tilted_tail(values)
    chosen = estimate(values, stakes, prizes)
    assert chosen.p is not None
    assert chosen.low is not None
    assert chosen.high is not None
    return {**found, "chosen": chosen.p, "held": float(chosen.low <= 0 <= chosen.high)}


def studentised(away: F64, spread: float) -> F64:
    """Resampled means over their own standard errors; infinite where those are nothing."""
    count, scaled = len(away), away / spread
    mean, square = (resamples(count) @ np.stack([scaled, scaled**2], axis=1) / count).T
    variance = (square - mean**2) * count / (count - 1)
    some = variance > 1e-9
    apart = np.where(np.abs(mean) > 1e-9, np.copysign(np.inf, mean), 0.0)
    return np.where(some, mean / np.sqrt(np.where(some, variance, 1.0) / count), apart)


def sizes(job: tuple[str, int, int]) -> dict[str, float]:
    """Per cent that each test rejects, and that the chosen interval holds the truth."""
    name, events, times = job
    rng = np.random.default_rng([40, events])
    signs = np.random.default_rng(5).choice([-1.0, 1.0], (RESAMPLES, events))
    found = [candidates(signs, *SHAPES[name](rng, events)) for _ in range(times)]
    told = {test: 100 * float(np.mean([one[test] <= ALPHA for one in found])) for test in found[0] if test != "held"}
    return {**told, "interval holds": 100 * float(np.mean([one["held"] for one in found]))}


# Planted edges.


def planted(job: tuple[int, float, int]) -> tuple[list[float], list[float]]:
    """Profits and stakes of the buyer in some markets."""
    number, bias, count = job
    found = nulls.events(nulls.buyer(), nulls.tapes_of(number, count, nulls.NULL, bias=bias))
    return found.profit.tolist(), found.stakes.tolist()


def oracle(job: tuple[str, int]) -> float:
    name, number = job
    terms = Terms(seconds=60)
    [tape] = make_tapes(name, 1, seed=900 + number, seconds=60)
    return int(play_oracle(tape, world_named(name).solve(terms).policy, terms)) / 1e6


def power(profits: F64, stakes: F64, events: int, times: int = _REPEATS) -> float:
    """How often an edge is shown in so many of these events, drawn without replacement."""
    rng = np.random.default_rng([41, events])
    shown = 0
    for _ in range(times):
        some = rng.choice(len(profits), events, replace=False)
        p = estimate(profits[some], stakes[some]).p
        shown += p is not None and p <= ALPHA
    return shown / times


def by_theory(edge: float, events: int) -> float:
    """Of a normal mean that is so many standard deviations from nothing."""
    curve = NormalDist()
    return curve.cdf(edge * events**0.5 - curve.inv_cdf(1 - ALPHA))


def draw(path: Path, found: dict[str, F64], told: dict[str, dict[str, float]]) -> None:
    """Histograms of p-values."""
    from kflow.cli.charts import drawing, frame

    pyplot = drawing()
    figure, axes = pyplot.subplots(1, len(found), figsize=(5.2 * len(found), 3.2), sharey=True, layout="constrained")
    titles = {"null": "no spread, no fees", "costs": "a spread of two cents, and fees"}
    for axis, (name, values) in zip(axes, found.items(), strict=True):
        axis.hist(values, np.linspace(0, 1, 21), color="#0072B2", edgecolor="white", linewidth=0.6)
        axis.axhline(len(values) / 20, color="#D55E00", linewidth=1.2)
        share = told[name]["rejected"]
        frame(axis, f"{titles[name]}: {100 * share:.1f} % at or below 0.05", 'p of "no edge"', "policies")
    for axis in axes[1:]:
        axis.set_ylabel("")
    figure.savefig(path, dpi=110)


def nothing_to_win(policies: int, pool: Any, picture: Path | None) -> dict[str, dict[str, float]]:
    found: dict[str, F64] = {}
    told: dict[str, dict[str, float]] = {}
    for name, options in (("null", nulls.NULL), ("costs", nulls.COSTS)):
        found[name] = nulls.p_values(policies, EVENTS, options, partial(pool.map, chunksize=5))
        told[name] = {"rejected": float((found[name] <= ALPHA).mean()), "uniform_p": uniform(found[name])}
        print(
            f"{name:6} {policies} policies, {EVENTS} markets each: {100 * told[name]['rejected']:.1f} % rejected, "
            f"uniformity p = {told[name]['uniform_p']:.3g}",
            flush=True,
        )
    if picture is not None:
        draw(picture, found, told)
    return told


def tests_compared(times: int, pool: Any) -> dict[str, dict[str, float]]:
    jobs = [(name, events, times) for name in SHAPES for events in SIZES]
    rows = dict(zip(jobs, pool.map(sizes, jobs, chunksize=1), strict=True))
    names = list(next(iter(rows.values())))
    print(f"\n{'rejected at 5 %, of ' + str(times):32}" + "".join(f"{name:>15}" for name in names))
    for (name, events, _), row in rows.items():
        print(f"{name:27} {events:4}" + "".join(f"{row[test]:15.1f}" for test in names))
    return {f"{name}, {events}": row for (name, events, _), row in rows.items()}


def edges_found(markets: int, pool: Any) -> dict[str, dict[str, float]]:
    told: dict[str, dict[str, float]] = {}
    each = 250
    print(f"\n{'planted edge':26}{'$ an event':>12}{'deviations':>12}" + "".join(f"{n:>14}" for n in POWERS))
    for place, bias in enumerate(BIASES):
        jobs = [(1_000 + 100 * place + part, bias, each) for part in range(markets // each)]
        profits, stakes = (np.concatenate(parts) for parts in zip(*pool.map(planted, jobs, chunksize=1), strict=True))
        edge = float(profits.mean() / profits.std(ddof=1))
        row = {str(events): power(profits, stakes, events) for events in POWERS}
        told[f"{100 * bias:g} points"] = {"mean": float(profits.mean()), "edge": edge, **row}
        cells = "".join(f"{row[str(n)]:>8.2f} ({by_theory(edge, n):.2f})"[-14:].rjust(14) for n in POWERS)
        print(f"{100 * bias:g} points more YES{'':9}{profits.mean():12.3f}{edge:12.2g}{cells}", flush=True)
    print(f"\n{'world, by its best':26}{'$ an event':>12}{'deviations':>12}" + "".join(f"{n:>14}" for n in FEW))
    for name in WORLDS:
        profits = np.array(pool.map(oracle, [(name, number) for number in range(min(markets, 100))], chunksize=5))
        edge = mean_over_spread(profits)
        row = {str(events): power(profits, np.zeros(len(profits)), events, 200) for events in FEW}
        told[name] = {"mean": float(profits.mean()), **({"edge": edge} if np.isfinite(edge) else {}), **row}
        print(f"{name:26}{profits.mean():12.3f}{edge:12.2g}" + "".join(f"{row[str(n)]:14.2f}" for n in FEW), flush=True)
    return told


def main() -> None:
    parser = arguments(__doc__ or "", full=1, quick=1)
    parser.add_argument("--picture", type=Path, help="histograms of the p-values")
    parser.add_argument("--policies", type=int, help="random ones in each market (default: 200, quick 60)")
    parser.add_argument("--only", choices=("null", "sizes", "power"), help="one part")
    options = parser.parse_args()
    begun = time.perf_counter()
    quick, only = options.quick, options.only
    policies = options.policies or (60 if quick else JUDGED)
    line: dict[str, Any] = {"bench": "null"}
    with multiprocessing.Pool() as pool:
        if only in (None, "null"):
            line |= nothing_to_win(policies, pool, options.picture)
        if only in (None, "sizes"):
            line["sizes"] = tests_compared(60 if quick else 2_000, pool)
        if only in (None, "power"):
            line["power"] = edges_found(500 if quick else 6_000, pool)
    if "null" in line:
        line["passed"] = passed(line["null"], line["costs"], policies)
        print(f"\npassed: {'not judged by so few policies' if line['passed'] is None else line['passed']}")
    print(f"{time.perf_counter() - begun:.0f} s")
    print(json.dumps(short({**line, "machine": machine()})))


def passed(null: dict[str, float], costs: dict[str, float], policies: int) -> bool | None:
    """None of fewer than JUDGED, of which two or three too many are luck."""
    if policies < JUDGED:
        return None
    uniformly = 0.02 <= null["rejected"] <= 0.095 and null["uniform_p"] > ALPHA
    return uniformly and costs["rejected"] <= ALPHA


def short(value: Any) -> Any:
    """Four digits: more would be noise."""
    if isinstance(value, dict):
        return {name: short(inner) for name, inner in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
