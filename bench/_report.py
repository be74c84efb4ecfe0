"""What every benchmark here shares: its --quick switch, alternating runs, and the line of JSON it ends with."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any


def options(about: str) -> argparse.Namespace:
    """The command line of a benchmark: `--quick` keeps it under 50 s."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, under 50 s")
    return parser.parse_args()


def alternating(contestants: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Run each in turn, `rounds` times, so that a slow moment of the machine hits all alike; their figures by name."""
    figures: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            figures[name].append(run())
    return figures


def finish(name: str, figures: Mapping[str, list[float]], ratio: float, *packages: str, **more: Any) -> None:
    """Print the line: medians of `figures`, the ratio, the machine, and the versions of Python, kflow and `packages`."""
    line = {
        "bench": name,
        "medians": {key: _rounded(statistics.median(values)) for key, values in figures.items()},
        "spread": {key: [_rounded(min(values)), _rounded(max(values))] for key, values in figures.items()},
        "runs": {key: len(values) for key, values in figures.items()},
        "ratio": _rounded(ratio),
        **more,
        "machine": machine(),
        "versions": {"python": platform.python_version(), **{p: metadata.version(p) for p in ("kflow", *packages)}},
        "commit": _commit(),
    }
    print(json.dumps(line))


def machine() -> dict[str, Any]:
    """Processor, cores, memory, kernel: what a figure means nothing without."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "load": round(os.getloadavg()[0], 2),
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str | None:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
