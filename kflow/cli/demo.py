"""`kflow demo`: everything once, in three minutes at most, with neither key, network nor settings."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import signal
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Final

import typer

import kflow
from kflow.cli import render
from kflow.cli.console import styled, width

# What a folder of ours is known by; beside it what the last run came to.
MARK: Final = "kflow-demo.json"
LOG: Final = "demo.log"
_SETTINGS: Final = """\
# Settings of what kflow demo left here. They hold for every kflow that is run in this folder.

[data]
dir = "data"

[exchange]
rate = 400.0        # messages a second of all the markets that the private exchange makes up

[actor]
port = 0            # any free one
"""
_NEXT: Final = (
    ("kflow ingest --market INXD-25JAN03", "record until Ctrl-C; it says where to look at it"),
    ("kflow exchange serve --synthetic busy", "a venue of your own, to develop a bot against"),
    ("kflow init --env demo -o -", "settings for Kalshi's demo; its key then goes into two variables"),
)


def demo(
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where it all lies.")] = Path("kflow-demo"),
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open the report, where there is a display.")] = True,
    quick: Annotated[bool, typer.Option("--quick", help="A little of everything, in half a minute.")] = False,
    as_json: render.JsonOption = False,
) -> None:
    """See everything once, in three minutes at most: no key, no network, no settings.

    Records a private exchange, verifies, simulates, trains, evaluates, trades on paper, kills, reports. Each step shows
    the commands that it is; they work in the folder afterwards. Run again, it adds to the folder.
    """
    form = render.chosen(None, as_json)
    folder = _taken(out)
    with _locked(folder, out), _interruptible():
        whole = _Run(folder, out, quick).whole()
        (folder / MARK).write_text(json.dumps({"schema_version": render.SCHEMA_VERSION, **whole}, indent=1) + "\n")
    if form is render.Format.JSON:
        render.record(whole, form=form)
    else:
        _summary(whole)
    if show:
        _open(Path(whole["report"]))


class _Run:
    """One run of the demo, told on stderr as it goes."""

    def __init__(self, folder: Path, shown: Path, quick: bool) -> None:
        self._folder, self._shown, self._quick = folder, shown, quick

    def whole(self) -> dict[str, Any]:
        """Take every step; what came of it. Raises the error of a command that failed."""
        from kflow.cli.errands import Errands, overriding
        from kflow.cli.tour import FULL, QUICK, Tour

        began = time.monotonic()
        self._hello(overriding())
        taken: list[dict[str, Any]] = []
        with Errands(self._folder, LOG) as errands:
            tour = Tour(errands, QUICK if self._quick else FULL)
            for number, step in enumerate(tour.steps, 1):
                since = time.monotonic()
                render.note("")
                name = f"{number}/{len(tour.steps)} {step.name}"
                render.note(_wrapped(f"{name}: {step.about}").replace(name, styled(name, sys.stderr, bold=True), 1))
                came = step.run()
                commands, errands.shown = errands.shown, []
                seconds = round(time.monotonic() - since, 1)
                self._told(came.sentences, commands, seconds)
                taken.append({"step": step.name, "seconds": seconds, "result": list(came.sentences),
                              "figures": dict(came.figures), "commands": commands})  # fmt: skip
            page = tour.page
        render.note("")
        return {
            "kflow": kflow.__version__,
            "folder": str(self._shown),
            "seconds": round(time.monotonic() - began, 1),
            "bytes": _bytes(self._folder),
            "report": str(self._shown / page.relative_to(self._folder)),
            "steps": taken,
        }

    def _hello(self, overriding: Sequence[str]) -> None:
        folder = shlex.quote(str(self._shown))
        render.note(
            f"Everything once, in three minutes at most, with neither key nor network; all of it lies in {folder}."
        )
        render.note(f"Lines that begin with $ are what is run. To run one of them yourself: cd {folder}")
        if overriding:
            render.note(f"Your shell sets {', '.join(overriding)}, which the demo ignores: unset it before you do.")

    @staticmethod
    def _told(sentences: Sequence[str], commands: Sequence[str], seconds: float) -> None:
        from kflow.cli.tour import INDENT

        render.note(f"{seconds:>6.1f} s  " + "\n".join(_wrapped(text, INDENT) for text in sentences)[len(INDENT) :])
        for command in commands:  # not wrapped: they are copied
            render.note(INDENT + styled(f"$ {command}", sys.stderr, fg="cyan"))


def _wrapped(text: str, indent: str = "") -> str:
    """As wide as the terminal, where there is one."""
    return textwrap.fill(
        text, min(width(sys.stderr), 120), initial_indent=indent, subsequent_indent=indent or " " * 4,
        break_long_words=False, break_on_hyphens=False,
    ) if sys.stderr.isatty() else indent + text  # fmt: skip


def _taken(out: Path) -> Path:
    """The demo's folder, made where it is missing, with its settings. Raises UsageError for one of somebody else's."""
    from kflow.errors import ConfigError, UsageError

    folder = out.expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()) and not (folder / MARK).is_file():
            raise UsageError(f"{out} is not empty, and was not made by kflow demo", hint="kflow demo --out ANOTHER")
        if not (folder / MARK).is_file():
            (folder / MARK).write_text("{}\n")
            (folder / "kflow.toml").write_text(_SETTINGS)
    except OSError as error:
        raise ConfigError(f"{out} cannot be used: {error.strerror}", hint="kflow demo --out ANOTHER") from None
    return folder


@contextmanager
def _locked(folder: Path, shown: Path) -> Iterator[None]:
    """One demo at a time in a folder. Raises InstanceLocked."""
    from kflow.errors import InstanceLocked

    with (folder / MARK).open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InstanceLocked(f"another kflow demo runs in {shown}", hint="kflow demo --out ANOTHER") from None
        yield


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM and a terminal that goes away end it as Ctrl-C does: what it began ends first."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        render.note("stopped; nothing is left running. Begun again, it goes through all steps in the same folder")
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _bytes(folder: Path) -> int:
    """That the folder takes on disk, with its database where that had to lie elsewhere."""
    from kflow.cli.tour import DATA
    from kflow.store.cluster import Cluster

    database = Cluster.of(folder / DATA / "database").folder
    places = {folder} if database.is_relative_to(folder) else {folder, database}
    files = (path for place in places for path in place.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_blocks * 512 for path in files)


def _summary(whole: Mapping[str, Any]) -> None:
    each = ", ".join(f"{step['step']} {step['seconds']:.0f}" for step in whole["steps"])
    lines = [f"{whole['seconds']:.0f} s in all ({each}); {render.size(whole['bytes'])} in {whole['folder']}"]
    lines += [f"report: {whole['report']}", "", f"What now? cd {shlex.quote(whole['folder'])}, then:"]
    lines += [f"  {command:<38} # {why}" for command, why in _NEXT]
    render.text("\n".join(lines))


def _open(page: Path) -> None:
    """Show the report in a browser, where somebody sits in front of one."""
    import webbrowser

    seen = sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if not seen or os.environ.get("CI") or not sys.stderr.isatty():
        return
    if webbrowser.open(page.absolute().as_uri()):
        render.note(f"opened {page}")
