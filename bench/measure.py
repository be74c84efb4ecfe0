"""What the benchmarks share: cases run in alternation, medians, and a last line of JSON that names the machine.

medians = alternate({"ours": ours, "theirs": theirs}, repeats=7)  # each case returns how many units it did
report("book", medians, ratio=medians["ours"].per_s / medians["theirs"].per_s)
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Timing:
    """Medians of one case over its runs."""

    units: int  # of work in one run
    wall_s: float  # of one run
    cpu_s: float  # of one run: this process, all threads, and children that ended in it
    per_s: float  # units per wall-clock second
    per_cpu_s: float  # units per CPU second: what a busy machine distorts least
    per_s_least: float
    per_s_most: float

    @property
    def us_each(self) -> float:
        """CPU microseconds per unit."""
        return 1e6 / self.per_cpu_s


def alternate(cases: Mapping[str, Callable[[], int]], repeats: int, *, warm_up: bool = True) -> dict[str, Timing]:
    """Run every case `repeats` times, in turn and each round beginning with another, so that drift hits all alike."""
    names = list(cases)
    if warm_up:
        for case in cases.values():
            case()
    runs: dict[str, list[tuple[int, float, float]]] = {name: [] for name in names}
    for turn in range(repeats):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            runs[name].append(_timed(cases[name]))
    return {name: _medians(measured) for name, measured in runs.items()}


def report(
    name: str, medians: Mapping[str, Timing], ratio: float, *, packages: Iterable[str] = (), **extra: Any
) -> None:
    """Print the medians for people, then everything as one line of JSON, the last of the output.

    `packages`: whose versions the figure depends on.
    """
    for case, timing in medians.items():
        spread = f"{timing.per_s_least:,.0f} to {timing.per_s_most:,.0f}"
        print(f"{case:24} {timing.per_s:>14,.0f} /s  ({spread})  {timing.us_each:9.2f} us CPU each")
    print(f"ratio {ratio:.2f}")
    figures = {case: {key: _short(value) for key, value in asdict(timing).items()} for case, timing in medians.items()}
    more = {key: _short(value) for key, value in extra.items()}
    line = {"bench": name, "ratio": _short(ratio), "medians": figures, **more, "machine": machine(packages)}
    print(json.dumps(line, default=str), flush=True)


def machine(packages: Iterable[str] = ()) -> dict[str, Any]:
    """What a figure was measured on: processor, usable cores, memory, system, versions, commit; no name of a host."""
    return {
        "cpu": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "commit": _commit(),
        **{name: metadata.version(name) for name in ("kflow", *packages)},
    }


def arguments(description: str, *, full: int = 15, quick: int = 5) -> argparse.ArgumentParser:
    """A parser with the options every benchmark has: `--quick` and `--repeats` (None: `repeats` of these two)."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="under 50 s, with fewer runs and less work in each")
    parser.add_argument("--repeats", type=int, help=f"runs of each case (default: {full}, quick {quick})")
    parser.set_defaults(full_repeats=full, quick_repeats=quick)
    return parser


def repeats(options: argparse.Namespace) -> int:
    """How many runs the options ask for."""
    return int(options.repeats or (options.quick_repeats if options.quick else options.full_repeats))


def _timed(case: Callable[[], int]) -> tuple[int, float, float]:
    gc.collect()
    wall, cpu = time.perf_counter(), _cpu_s()
    units = case()
    return units, time.perf_counter() - wall, _cpu_s() - cpu


def _cpu_s() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _medians(runs: list[tuple[int, float, float]]) -> Timing:
    rates = [units / wall for units, wall, _ in runs]
    return Timing(
        units=round(statistics.median(units for units, _, _ in runs)),
        wall_s=statistics.median(wall for _, wall, _ in runs),
        cpu_s=statistics.median(cpu for _, _, cpu in runs),
        per_s=statistics.median(rates),
        per_cpu_s=statistics.median(units / cpu for units, _, cpu in runs),
        per_s_least=min(rates),
        per_s_most=max(rates),
    )


def _short(value: Any) -> Any:
    """Four significant digits: more would be noise."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None


if __name__ == "__main__":
    print(json.dumps({"bench": "machine", **machine()}))
