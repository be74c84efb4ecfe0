"""Record for a long time and see what grows: memory, lag, loss.

    python bench/soak.py [--quick] [--seconds 3600] [--rate 1000] [--markets 20]

The local exchange sends synthetic flow at a steady rate from one process; `kflow ingest` records it on the embedded
database in another. Every ten seconds the recorder's memory, open files and lag are read. At the end
`kflow replay verify` holds journal, tables and the exchange's own log against each other.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import measure

EVERY_S = 10.0


def started(arguments: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen[str]:
    with log.open("w") as file:
        command = [sys.executable, "-m", "kflow", *arguments]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=file, text=True)


def memory_mb(pid: int) -> float:
    """Resident memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise SystemExit(f"process {pid} has ended")


def status(port: int) -> dict[str, float]:
    """The recorder's metrics that have no labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    pairs = [line.split() for line in lines if line and line[0] != "#" and "{" not in line]
    return {name: float(value) for name, value in pairs}


def slope_per_hour(samples: list[tuple[float, float]]) -> float:
    """Of the least-squares line through (seconds, megabytes)."""
    if len(samples) < 2:
        return 0.0
    return statistics.linear_regression([t for t, _ in samples], [mb for _, mb in samples]).slope * 3600


def soak(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    truth = folder / "truth"
    flow = ["--synthetic", "busy", "--markets", str(options.markets), "--rate", str(options.rate), "--seed", "7"]
    exchange = started(["exchange", "serve", *flow, "--truth", str(truth)], dict(os.environ), folder / "exchange.log")
    assert exchange.stdout is not None
    ready = json.loads(exchange.stdout.readline())
    environment = os.environ | {
        "KFLOW_DATA_DIR": str(folder / "data"),
        "KALSHI_API_KEY_ID": ready["key_id"],
        "KALSHI_PRIVATE_KEY_PATH": ready["private_key_path"],
    }
    recording = ["ingest", "--all", "--exchange", ready["rest"].removesuffix("/trade-api/v2"), "--json"]
    recording += ["--port", str(options.port), "--duration", str(options.seconds)]
    recorder = started(recording, environment, folder / "ingest.log")
    samples = watch(recorder, options)
    assert recorder.stdout is not None
    result = json.loads(recorder.stdout.read())
    exchange.terminate()
    exchange.wait()
    verify = ["replay", "verify", "--session", str(result["session"]), "--truth", str(truth), "--json"]
    checked = subprocess.run(
        [sys.executable, "-m", "kflow", *verify], env=environment, capture_output=True, text=True, check=False
    )
    verdict = json.loads(checked.stdout) if checked.stdout else {"error": checked.stderr}
    return summary(samples, result, verdict)


def watch(recorder: subprocess.Popen[str], options: argparse.Namespace) -> list[dict[str, float]]:
    """A sample every ten seconds until the recorder ends."""
    begun = time.monotonic()
    samples: list[dict[str, float]] = []
    while recorder.poll() is None:
        try:
            recorder.wait(EVERY_S)
        except subprocess.TimeoutExpired:
            try:
                metrics = status(options.port)
                mb = memory_mb(recorder.pid)
                files = sum(1 for _ in Path(f"/proc/{recorder.pid}/fd").iterdir())
            except (OSError, SystemExit):
                continue  # it is about to end
            samples.append({"t": time.monotonic() - begun, "mb": mb, "files": files, **metrics})
            if sys.stderr.isatty() or len(samples) % 30 == 1:
                lag = metrics.get("kflow_db_lag_seconds", 0.0)
                print(f"{samples[-1]['t']:6.0f} s  {mb:6.1f} MB  lag {lag:.2f} s", file=sys.stderr, flush=True)
    return samples


def summary(samples: list[dict[str, float]], result: dict[str, Any], verdict: dict[str, Any]) -> dict[str, Any]:
    warm = [s for s in samples if s["t"] >= samples[-1]["t"] / 6]  # the first sixth is warming up
    lags = sorted(s.get("kflow_db_lag_seconds", 0.0) for s in warm)
    return {
        "messages": result["messages"],
        "gaps": result["gaps"],
        "memory_mb": {"first": warm[0]["mb"], "last": warm[-1]["mb"], "most": max(s["mb"] for s in samples)},
        "memory_mb_per_hour": slope_per_hour([(s["t"], s["mb"]) for s in warm]),
        "open_files": {"first": warm[0]["files"], "last": warm[-1]["files"]},
        "lag_s": {"p50": lags[len(lags) // 2], "most": lags[-1]},
        "verify": verdict,
    }


def main() -> None:
    parser = measure.arguments(__doc__ or "")
    parser.add_argument("--seconds", type=float, default=None)
    parser.add_argument("--rate", type=float, default=1_000)
    parser.add_argument("--markets", type=int, default=20)
    parser.add_argument("--port", type=int, default=8017)
    options = parser.parse_args()
    options.seconds = options.seconds or (20.0 if options.quick else 3600.0)
    folder = Path(tempfile.mkdtemp(prefix="kflow-soak-"))
    print(f"files of this run: {folder}", file=sys.stderr)
    figures = soak(options, folder)
    ratio = figures["messages"] / options.seconds / options.rate
    line = {"bench": "soak", "ratio": round(ratio, 4), "seconds": options.seconds, "rate": options.rate, **figures}
    print(json.dumps(line | {"machine": measure.machine()}))


if __name__ == "__main__":
    main()
