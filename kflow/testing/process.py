"""`kflow` as its users run it: a process of its own, in a folder of its own, no variable of ours but those given."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final

OURS: Final = ("KFLOW_", "RL_", "KALSHI_", "DATABASE_URL")
PATIENCE_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Shell:
    """Runs kflow in `folder`, whose `data` holds what it keeps. `environ` is added to each command's."""

    folder: Path
    environ: Mapping[str, str] = field(default_factory=dict)

    def run(self, *words: object, **environ: str) -> Outcome:
        """One command to its end."""
        done = subprocess.run(  # noqa: S603 - our own program
            self.command(*words),
            capture_output=True,
            text=True,
            env=self.variables(environ),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            timeout=PATIENCE_S,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    def start(self, *words: object, **environ: str) -> Command:
        """One command that goes on; `with shell.start("ingest") as command`."""
        process = subprocess.Popen(  # noqa: S603 - our own program
            self.command(*words),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.variables(environ),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            # Tests that were begun in the background of a script are deaf to Ctrl-C, and so would their children be.
            preexec_fn=_hear_interrupts,
        )
        return Command(process)

    def command(self, *words: object) -> list[str]:
        return [sys.executable, "-m", "kflow", *map(str, words)]

    def variables(self, more: Mapping[str, str]) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(OURS) or k == "KFLOW_POSTGRES_BIN"}
        return {**kept, "KFLOW_DATA_DIR": str(self.folder / "data"), "COLUMNS": "120", **self.environ, **more}


def _hear_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Command:
    """A running command."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        # A test that waits for what does not come must fail, not hang.
        self._watchdog = threading.Timer(2 * PATIENCE_S, process.kill)
        self._watchdog.daemon = True
        self._watchdog.start()
        self.said: list[str] = []  # lines of stderr that were read

    def wait_for(self, words: str) -> str:
        """Read stderr up to the line that holds `words`, and return that line."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if words in line:
                return line
        raise AssertionError(f"kflow ended without saying {words!r}: {''.join(self.said)}")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> Outcome:
        """Wait for its end."""
        out, err = self.process.communicate(timeout=PATIENCE_S)
        return Outcome(self.process.returncode, out, "".join(self.said) + err)

    def __enter__(self) -> Command:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watchdog.cancel()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
