"""The rig of the fault tests: an exchange, a recorder and a database, each a process that can be killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from kflow.store.cluster import Cluster
from kflow.testing.venue import LocalVenueProcess

from .oracle import Judgement, judge

EVENT = "INXD-25JAN03"


def wait_for(what: str, condition: Callable[[], bool], *, within_s: float = 60.0) -> float:
    """Watch another process until it has come so far; how long that took. Raises TimeoutError."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > within_s:
            raise TimeoutError(f"waited {within_s:.0f} s for {what}")
        time.sleep(0.02)
    return time.monotonic() - started


@dataclass
class Rig:
    """A venue under load and the folder that its recorder works in."""

    folder: Path
    venue: LocalVenueProcess
    environment: dict[str, str]
    dsn: str | None
    running: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def journals(self) -> Path:
        return self.data / "journal"

    def start(self, *options: str, prefix: tuple[str, ...] = (), **environment: str) -> subprocess.Popen[str]:
        """A real `kflow ingest`; `prefix` runs it under another program."""
        command = [*prefix, sys.executable, "-m", "kflow", "ingest", "--market", EVENT, "--port", "0", "--json"]
        log = (self.folder / "ingest.log").open("a")
        process = subprocess.Popen(
            [*command, "--exchange", self.venue.rest, *options],
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        log.close()
        self.running.append(process)
        return process

    def journalled(self) -> int:
        """Bytes that all journals hold."""
        return sum(path.stat().st_size for path in self.journals.glob("*/*.kfj"))

    def until_grown(self, by: int, *, within_s: float = 60.0) -> float:
        """Until so many more bytes are journalled."""
        before = self.journalled()

        def grown() -> bool:
            for process in self.running:
                assert process.poll() in (None, 0, -signal.SIGKILL), self.log()
            return self.journalled() >= before + by

        return wait_for("the journal to grow", grown, within_s=within_s)

    def log(self) -> str:
        return (self.folder / "ingest.log").read_text()[-3000:]

    def end(self, process: subprocess.Popen[str], *, within_s: float = 60.0) -> tuple[dict[str, Any], float]:
        """Ask it to drain; what it says, and how long it took."""
        started = time.monotonic()
        process.terminate()
        said, _ = process.communicate(timeout=within_s)
        assert process.returncode == 0, f"exit code {process.returncode}: {self.log()}"
        return json.loads(said), time.monotonic() - started

    def kill(self, process: subprocess.Popen[str]) -> None:
        process.kill()
        process.wait()

    def recover(self) -> None:
        """A run that does nothing but load what the others left."""
        process = self.start("--duration", "0.5")
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, f"exit code {process.returncode}: {self.log()}"
        assert json.loads(said)["stored"], self.log()

    def judge(self, dsn: str | None = None) -> Judgement:
        """Stop the venue, so that its log is whole, and compare everything."""
        if self.venue.process is not None and self.venue.process.poll() is None:
            self.venue.stop()
        where = dsn or self.dsn
        assert where is not None
        return judge(where, self.journals, self.folder / "truth")


@contextmanager
def rigged(folder: Path, *, rate: int, seed: int, dsn: str | None = None, **options: str) -> Iterator[Rig]:
    """An exchange with synthetic flow, ready to be recorded; everything that was started is ended."""
    truth = folder / "truth"
    flow = ["--synthetic", "busy", "--markets", "5", "--rate", str(rate), "--seed", str(seed)]
    extra = [text for name, value in options.items() for text in (f"--{name}", value)]
    with LocalVenueProcess(*flow, "--truth", str(truth), *extra) as venue:
        environment = {
            **os.environ,
            "KFLOW_DATA_DIR": str(folder / "data"),
            "KALSHI_API_KEY_ID": venue.key_id,
            "KALSHI_PRIVATE_KEY_PATH": str(venue.private_key_path),
        }
        environment.pop("DATABASE_URL", None)
        if dsn is not None:
            environment["DATABASE_URL"] = dsn
        (folder / "data").mkdir(mode=0o755)
        rig = Rig(folder, venue, environment, dsn)
        try:
            yield rig
        finally:
            for process in rig.running:
                if process.poll() is None:
                    rig.kill(process)
                if process.stdout is not None:
                    process.stdout.close()


def postmaster(data: Path) -> int | None:
    """Of the embedded server of a data folder; None while none runs."""
    return Cluster.of(data / "database").postmaster()


def kill_tree(pid: int) -> int:
    """SIGKILL a process and all below it, parents first, so that none can act on a child's death."""
    victims, known = [pid], parents()
    for victim in victims:
        victims += [child for child, parent in known.items() if parent == victim]
    for victim in victims:
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return len(victims)


def parents() -> Mapping[int, int]:
    """Parent of every process."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        found[int(status.parent.name)] = int(fields[1])
    return found


@contextmanager
def repeatable(what: str, seed: int) -> Iterator[random.Random]:
    """Randomness that a failure tells how to repeat."""
    try:
        yield random.Random(seed)
    except BaseException:
        print(
            f"\nrepeat with: KFLOW_FAULT_SEED={seed} python -m pytest -m 'faults or not faults' -k {what} tests/faults"
        )
        raise


def watermark(dsn: str) -> int:
    """Journal offset up to which the newest session is stored; -1 while the database cannot say."""
    try:
        with psycopg.connect(dsn, autocommit=True, connect_timeout=5) as conn:
            row = conn.execute("SELECT journal_offset FROM rl_watermarks ORDER BY session_id DESC LIMIT 1").fetchone()
    except psycopg.OperationalError:
        return -1
    return -1 if row is None else int(row[0])
