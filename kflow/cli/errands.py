"""Commands of kflow run one after another as processes of their own: what they say is kept, what they give is read.

They run in one folder, whose kflow.toml is all that they know: variables of ours are not handed on. Each is in a group
of its own, so that Ctrl-C reaches them through us, once; whatever ends us in order ends them.
"""

from __future__ import annotations

import json
import logging
import math
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

from kflow.cli.console import console, drawable
from kflow.cli.render import duration, note
from kflow.errors import KflowError
from kflow.settings import declared
from kflow.settings.groups import PREFIX

_LOOK_S: Final = 0.1
_TELL_S: Final = 10.0  # between two signs of life where nothing can be drawn
_LISTENING_S: Final = 2.0  # for the last words of a command that has ended
_ENDING_S: Final = 15.0  # that a command gets to end in order
_OURS: Final = ("KFLOW_", "RL_", "KALSHI_")
_KEPT: Final = ("KFLOW_POSTGRES_BIN",)

Hear = Callable[[str], None]


def overriding() -> list[str]:
    """Variables of this shell that would change what a command does, though a kflow.toml stands beside it."""
    names = {name for item in declared() for name in item.env} | {"KFLOW_CONFIG"}
    return sorted(name for name in os.environ if (name in names or name.startswith(PREFIX)) and os.environ[name])


def program() -> str:
    """How a person starts the kflow that runs now."""
    script = Path(sysconfig.get_path("scripts")) / "kflow"
    found = shutil.which("kflow")
    if found is not None and script.exists() and Path(found).samefile(script):
        return "kflow"
    return shlex.quote(str(script)) if script.exists() else f"{shlex.quote(sys.executable)} -m kflow"


class Errand:
    """A command that was begun."""

    def __init__(self, words: tuple[str, ...], process: subprocess.Popen[str], out: IO[str]) -> None:
        self.words = words
        self.process = process
        self.said: list[str] = []  # lines of stderr
        self._began = time.monotonic()
        self._ended: float | None = None
        self._out = out
        self._listener: threading.Thread | None = None

    @property
    def code(self) -> int | None:
        return self.process.poll()

    @property
    def seconds(self) -> float:
        """That it ran, or has been running."""
        return (self._ended or time.monotonic()) - self._began

    @property
    def error(self) -> KflowError:
        """What it said is wrong, where it ended with another code than 0."""
        if self._listener is not None:
            self._listener.join(_LISTENING_S)
        told = {line.partition(": ")[0]: line.partition(": ")[2] for line in self.said}
        kinds = {kind.exit_code: kind for kind in KflowError.__subclasses__()}
        why = told.get("error") or f"it ended with {self.code}"
        return kinds.get(self.code or 1, KflowError)(
            f"kflow {shlex.join(self.words)}: {why}", hint=told.get("hint", "")
        )

    def listen(self, log: IO[str], hear: Hear | None) -> None:
        """Take in what it says on stderr from now on, on a thread of its own."""
        self._listener = threading.Thread(target=self._listen, args=(log, hear), daemon=True)
        self._listener.start()

    def require(self) -> None:
        """Raises the error that it ended with."""
        if self.code:
            raise self.error

    @property
    def result(self) -> dict[str, Any]:
        """What it printed with --json. Raises the error that it ended with."""
        self.require()
        self._out.seek(0)
        found: dict[str, Any] = json.loads(self._out.read())
        return found

    def _listen(self, log: IO[str], hear: Hear | None) -> None:
        assert self.process.stderr is not None
        with suppress(ValueError):  # the log was closed
            for text in self.process.stderr:
                line = text.rstrip("\n")
                self.said.append(line)
                log.write(f"{line}\n")
                log.flush()
                if hear is not None:
                    hear(line)
        self._ended = time.monotonic()

    def ask_to_end(self) -> None:
        """In order, where it knows how to. Not by SIGINT: to that we may be deaf ourselves, and so are our children."""
        self.process.terminate()

    def end(self) -> None:
        """Ask it to end, and make it."""
        self.ask_to_end()
        try:
            self.process.wait(_ENDING_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Errands:
    """Runs commands in `folder`; `with Errands(folder) as errands`. All that they say on stderr goes to demo.log."""

    def __init__(self, folder: Path, log: str) -> None:
        self.folder = folder
        self.shown: list[str] = []  # the commands as a person types them
        self._program = program()
        self.log = folder / log
        self._log = self.log.open("a", encoding="utf-8")
        self._begun: list[Errand] = []
        self._line = _Line()

    def run(self, *words: str, what: str, data: bool = True, hear: Hear | None = None) -> Errand:
        """One command to its end; `what` is said meanwhile. It may have failed: see `result`."""
        errand = self.start(*words, data=data, hear=hear)
        self.wait(errand, what)
        return errand

    def start(self, *words: str, data: bool = True, hear: Hear | None = None) -> Errand:
        """Begin a command. With `data` it is run with --json, to read its figures, and shown without."""
        self.shown.append(f"{self._program} {shlex.join(words)}")
        return self._start(words, ["-m", "kflow", *words, *(["--json"] if data else [])], hear)

    def aside(self, module: str, *words: str) -> Errand:
        """Begin something that only takes time: it gets what the others leave."""
        errand = self._start((module, *words), ["-m", module, *words], None)
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, errand.process.pid, 5)
        return errand

    def wait(self, errand: Errand, what: str) -> None:
        """Until it has ended, with a sign of life: its last words."""

        def last() -> str:
            return next((text for text in reversed(errand.said) if text.strip()), "")

        self.until(lambda: errand.code is not None, what, last=last)

    def until(
        self, over: Callable[[], bool], what: str, seconds: float = math.inf, *, last: Callable[[], str] = str
    ) -> None:
        """Until something is so, or so much time is over, with a sign of life."""
        began = told = time.monotonic()
        with _Line() as self._line:
            line = self._line
            while not over() and (now := time.monotonic()) - began < seconds:
                words = " · ".join(filter(None, (what, duration(now - began), last())))
                line.show(words)
                if now - told >= _TELL_S:
                    told = now
                    line.tell(f"        … {words}")
                time.sleep(_LOOK_S)

    def say(self, text: str) -> None:
        """Say something while another thread shows that it waits: above that."""
        self._line.above(text)

    def _start(self, words: tuple[str, ...], arguments: list[str], hear: Hear | None) -> Errand:
        out = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - read when it has ended
        process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-P", *arguments],
            cwd=self.folder,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )
        errand = Errand(words, process, out)
        self._begun.append(errand)
        self._log.write(f"$ {shlex.join(words)}\n")
        self._log.flush()
        errand.listen(self._log, hear)
        return errand

    def __enter__(self) -> Errands:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for errand in self._begun:
            if errand.code is None:
                errand.end()
        self._log.close()


def _environment() -> Mapping[str, str]:
    dropped = {name for item in declared() for name in item.env}
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _KEPT or not (name.startswith(_OURS) or name in dropped)
    }
    kept.pop("FORCE_COLOR", None)
    return {**kept, "NO_COLOR": "1"}


class _Line:
    """One line that changes while something goes on, or a line now and then where a terminal cannot be drawn on."""

    def __init__(self) -> None:
        from rich.status import Status

        drawn = drawable(sys.stderr) and logging.getLogger("kflow").isEnabledFor(logging.INFO)
        self._status = Status("", console=console(sys.stderr), refresh_per_second=4) if drawn else None

    def show(self, text: str) -> None:
        if self._status is not None:
            from rich.text import Text

            shown = Text(text)
            shown.truncate(max(1, self._status.console.width - 3), overflow="ellipsis")  # beside the spinner
            self._status.update(shown)

    def tell(self, text: str) -> None:
        if self._status is None:
            note(text)

    def above(self, text: str) -> None:
        if self._status is None:
            note(text)
        else:
            self._status.console.print(text, markup=False, soft_wrap=True)

    def __enter__(self) -> _Line:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()
