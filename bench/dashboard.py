"""What a page that is looked at costs the recorder: 50 markets at 2,000 messages a second, with and without a browser.

    python bench/dashboard.py [--quick] [--repeats 5] [--seconds 30] [--rate 2000] [--markets 50]

A local exchange sends from one process, `kflow ingest` records on the embedded PostgreSQL in another, and in every
other stretch of the same run a headless Chromium has the page open on the market that changes most. Every chunk that
the recorder handles is timed. At the end `kflow replay verify` holds journal, tables and the exchange's own log against
each other.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import measure
import numpy as np
from websockets.sync.client import connect

from kflow.testing.browser import browser, chromium, looking
from kflow.testing.venue import LocalVenueProcess

WARM_S = 5.0  # of flow before the first stretch
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass
class Stretch:
    """One stretch of the run. Times of the monotonic clock, which all processes of a machine share."""

    looked: bool
    began_s: float
    ended_s: float = 0.0
    cpu_s: dict[str, float] = field(default_factory=dict)
    frames_per_s: list[float] = field(default_factory=list)  # of each second
    books_per_s: list[float] = field(default_factory=list)  # frames in which another book was drawn


# The recorder.


def record(samples_file: Path, arguments: list[str]) -> None:
    """`kflow ingest`, with a watch on each chunk: when it was done, messages, µs of each, ms since the last stamp."""
    from kflow.cli.main import run
    from kflow.record.recorder import Recorder

    received, samples = Recorder.received, array("d")

    def timed(self: Recorder, frames: list[bytes], wall_ns: int, mono_ns: int) -> None:
        before_s, began_ns = self.status.age_s.total_s, time.perf_counter_ns()
        received(self, frames, wall_ns, mono_ns)
        ended_ns = time.perf_counter_ns()
        age_s = self.status.age_s.total_s - before_s
        samples.extend((ended_ns / 1e9, len(frames), (ended_ns - began_ns) / len(frames) / 1e3, age_s * 1e3))

    Recorder.received = timed  # type: ignore[method-assign]
    code = run(["ingest", *arguments])
    np.save(samples_file, np.frombuffer(samples).reshape(-1, 4))
    raise SystemExit(code)


@contextmanager
def recorder(venue: LocalVenueProcess, folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The recorder's process, and where its page is."""
    environment = os.environ | {
        "KFLOW_DATA_DIR": str(folder / "data"),
        "KALSHI_API_KEY_ID": venue.key_id,
        "KALSHI_PRIVATE_KEY_PATH": str(venue.private_key_path),
    }
    arguments = ["--all", "--exchange", venue.rest.removesuffix("/trade-api/v2"), "--port", "0", "--json"]
    command = [sys.executable, __file__, "--record", str(folder / "samples.npy"), *arguments]
    log = folder / "ingest.log"
    with log.open("w") as file:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=file, text=True)
    try:
        yield process, _address(process, log)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def _address(process: subprocess.Popen[str], log: Path) -> str:
    while process.poll() is None:
        for line in log.read_text().splitlines():
            if "look at" in line:
                return line.split()[-1].rstrip("/")
        time.sleep(0.1)
    raise SystemExit(f"the recorder did not start: {log.read_text()}")


# What is measured.


def busiest(url: str) -> str:
    """The market whose book changes most."""
    with connect(f"{url.replace('http', 'ws')}/rl/ws?with=state", proxy=None) as stream:
        while True:
            message = json.loads(stream.recv())
            if message["type"] == "state" and all(row[5] is not None for row in message["markets"]):
                return str(max(message["markets"], key=lambda row: row[5])[0])


async def stretch(looked: bool, url: str, market: str, seconds: float, processes: dict[str, list[int]]) -> Stretch:
    if not looked:
        return await _watched(None, seconds, processes)
    async with browser() as running, looking(running, url, market=market) as look:
        await look.is_("live")
        await look.shows(market)
        found = await _watched(look, seconds, processes)
        assert (await look.ladder()).state == "live", "the page fell behind"
        await look.calm()
        return found


async def _watched(look: Any, seconds: float, processes: dict[str, list[int]]) -> Stretch:
    groups = processes | ({"browser": descendants(os.getpid(), "chrom")} if look else {})
    before = {name: cpu_s(pids) for name, pids in groups.items()}
    found = Stretch(look is not None, time.monotonic())
    last = None
    while time.monotonic() < found.began_s + seconds:
        await asyncio.sleep(1.0)
        if look is not None:
            now = await look.drawn()
            if last is not None:
                seconds_passed = (now[2] - last[2]) / 1000
                found.frames_per_s.append((now[0] - last[0]) / seconds_passed)
                found.books_per_s.append((now[1] - last[1]) / seconds_passed)
            last = now
    found.ended_s = time.monotonic()
    passed_s = found.ended_s - found.began_s
    found.cpu_s = {name: (cpu_s(pids) - before[name]) / passed_s for name, pids in groups.items()}
    return found


def cpu_s(pids: list[int]) -> float:
    """CPU seconds of processes that live, and of their children that ended."""
    return sum(_cpu_s(pid) for pid in pids)


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / TICKS_PER_S


def database(data: Path) -> list[int]:
    """The processes of the PostgreSQL that belongs to a data folder."""
    kept = data / "database"
    location = kept / "location"  # where it is not in the folder itself
    cluster = Path(location.read_text().strip()) if location.exists() else kept / "cluster"
    return descendants(int((cluster / "data" / "postmaster.pid").read_text().split()[0]))


def descendants(pid: int, name: str = "") -> list[int]:
    """Processes below this one, and it itself; those with `name` in theirs."""
    children: dict[int, list[tuple[int, str]]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue
        head, _, rest = text.rpartition(")")
        number, _, comm = head.partition(" (")
        children.setdefault(int(rest.split()[1]), []).append((int(number), comm))
    found, waiting = ([pid] if not name else []), [pid]
    while waiting:
        for child, comm in children.get(waiting.pop(), []):
            waiting.append(child)
            if name in comm:
                found.append(child)
    return found


async def stretches(options: argparse.Namespace, url: str, processes: dict[str, list[int]]) -> list[Stretch]:
    market = await asyncio.to_thread(busiest, url)
    found = []
    for turn in range(measure.repeats(options)):
        for looked in (True, False) if turn % 2 else (False, True):
            found.append(await stretch(looked, url, market, options.seconds, processes))
            print(_words(found[-1]), file=sys.stderr, flush=True)
    return found


def _words(one: Stretch) -> str:
    busy = ", ".join(f"{name} {100 * share:.0f} %" for name, share in one.cpu_s.items())
    frames = f"{statistics.median(one.frames_per_s):.0f} frames/s, " if one.looked else ""
    return f"{'with' if one.looked else 'without'} a page: {frames}CPU {busy}"


# The run, and what it came to.


def measured(options: argparse.Namespace, folder: Path) -> tuple[list[Stretch], dict[str, Any]]:
    flow = ["--synthetic", "busy", "--markets", str(options.markets), "--rate", str(options.rate), "--seed", "7"]
    flow += ["--truth", str(folder / "truth")]
    with LocalVenueProcess(*flow) as venue, recorder(venue, folder) as (process, url):
        assert venue.process is not None
        time.sleep(WARM_S)
        processes = {"recorder": [process.pid], "exchange": [venue.process.pid], "database": database(folder / "data")}
        found = asyncio.run(stretches(options, url, processes))
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        result = json.loads(process.stdout.read())
        assert process.wait() == 0
    return found, _verdict(result, folder)


def _verdict(result: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What is in the tables and the journal of what was sent."""
    verify = ["replay", "verify", "--session", str(result["session"]), "--truth", str(folder / "truth"), "--json"]
    environment = os.environ | {"KFLOW_DATA_DIR": str(folder / "data")}
    command = [sys.executable, "-m", "kflow", *verify]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    verdict = json.loads(done.stdout)
    return {
        "messages": verdict["messages"],
        "gaps": result["gaps"],
        "lost": verdict["truth"]["lost_outside_gaps"],
        "equal": verdict["equal"] and verdict["truth"]["equal"],
    }


def figures(samples: np.ndarray[Any, Any], chosen: list[Stretch]) -> dict[str, Any]:
    """Of all chunks in some stretches: µs to handle a message, and by how many ms more than the fastest of its stretch
    one was handled after its stamp: what a loop that is busy with clients adds, and all else on the way."""
    parts = [samples[(samples[:, 0] >= one.began_s) & (samples[:, 0] < one.ended_s)] for one in chosen]
    rows = np.concatenate(parts)
    later_ms = np.concatenate([part[:, 3][part[:, 3] > 0] - part[:, 3][part[:, 3] > 0].min() for part in parts])
    handle_us = np.repeat(rows[:, 2], rows[:, 1].astype(int))
    seconds = sum(one.ended_s - one.began_s for one in chosen)
    each = [float(np.quantile(np.repeat(part[:, 2], part[:, 1].astype(int)), 0.99)) for part in parts]
    return {
        "messages_per_s": len(handle_us) / seconds,
        "handle_us": {"p50": float(np.quantile(handle_us, 0.5)), "p99": float(np.quantile(handle_us, 0.99))},
        "handle_us_p99_each": [round(one, 1) for one in each],
        "later_ms": {"p50": float(np.quantile(later_ms, 0.5)), "p99": float(np.quantile(later_ms, 0.99))},
        "cpu_share": {name: statistics.median(one.cpu_s[name] for one in chosen) for name in chosen[0].cpu_s},
    }


def timing(samples: np.ndarray[Any, Any], chosen: list[Stretch]) -> measure.Timing:
    """Messages a second, and per CPU second of the recorder."""
    rates, per_cpu_s = [], []
    for one in chosen:
        among = (samples[:, 0] >= one.began_s) & (samples[:, 0] < one.ended_s)
        rates.append(float(samples[among, 1].sum()) / (one.ended_s - one.began_s))
        per_cpu_s.append(rates[-1] / one.cpu_s["recorder"])
    wall_s = statistics.median(one.ended_s - one.began_s for one in chosen)
    rate, per_cpu = statistics.median(rates), statistics.median(per_cpu_s)
    return measure.Timing(
        units=round(rate * wall_s),
        wall_s=wall_s,
        cpu_s=rate * wall_s / per_cpu,
        per_s=rate,
        per_cpu_s=per_cpu,
        per_s_least=min(rates),
        per_s_most=max(rates),
    )


def main() -> None:
    parser = measure.arguments(__doc__ or "", full=5, quick=1)
    parser.add_argument("--seconds", type=float, help="of each stretch (default: 30, quick 8)")
    parser.add_argument("--rate", type=int, default=2000)
    parser.add_argument("--markets", type=int, default=50)
    options = parser.parse_args()
    options.seconds = options.seconds or (8.0 if options.quick else 30.0)
    if chromium() is None:
        print("not measured: there is no Chromium on the PATH (Debian: apt install chromium)", file=sys.stderr)
        return
    folder = Path(tempfile.mkdtemp(prefix="kflow-bench-"))
    found, verdict = measured(options, folder)
    samples = np.load(folder / "samples.npy")
    cases = {"without": [one for one in found if not one.looked], "with": [one for one in found if one.looked]}
    seen = {name: figures(samples, chosen) for name, chosen in cases.items()}
    frames = [rate for one in cases["with"] for rate in one.frames_per_s]
    books = [rate for one in cases["with"] for rate in one.books_per_s]
    measure.report(
        "dashboard",
        {name: timing(samples, chosen) for name, chosen in cases.items()},
        ratio=seen["with"]["handle_us"]["p99"] / seen["without"]["handle_us"]["p99"],
        packages=("msgspec", "playwright", "uvicorn", "websockets"),
        frames_per_s={"median": statistics.median(frames), "worst_second": min(frames)},
        books_drawn_per_s={"median": statistics.median(books), "worst_second": min(books)},
        **verdict,
        **seen,
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--record"]:
        record(Path(sys.argv[2]), sys.argv[3:])
    main()
