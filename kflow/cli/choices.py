"""What a word of the command line may be, by what its help calls it: sessions, markets, models, runs, settings.

Asked at every key press: read from the data folder and the current one, never from a database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import typer

from kflow.cli.invocation import load_settings
from kflow.errors import KflowError
from kflow.store.folders import named_dir
from kflow.store.known import known

# Policies that need no model.
HAND_WRITTEN: Final = ("hold", "random", "cross", "join", "skewed", "favourite")
# Words, each with what it means; given the invocation and what was typed.
Choices = Callable[[typer.Context, str], list[tuple[str, str]]]
_NS_PER_S: Final = 1_000_000_000


def _data(context: typer.Context) -> Path:
    """The data folder; that of the defaults where the settings do not fit."""
    chosen = None
    with suppress(KflowError):
        chosen = load_settings(context).data.dir
    return named_dir(str(chosen) if chosen else None)


def sessions(context: typer.Context, _typed: str) -> list[tuple[str, str]]:
    """Numbers of sessions, the newest first."""
    found = []
    for item in reversed(known(_data(context))):
        started = datetime.fromtimestamp(item.started_ns // _NS_PER_S, UTC).strftime("%Y-%m-%d %H.%MZ")
        what = item.markets[0] if len(item.markets) == 1 else f"{len(item.markets)} markets"
        found.append((str(item.number), f"{started}, {what}"))
    return found


def markets(context: typer.Context, _typed: str) -> list[tuple[str, str]]:
    """Tickers that were recorded, those of the newest sessions first."""
    found: dict[str, str] = {}
    for item in reversed(known(_data(context))):
        for ticker in item.markets:
            found.setdefault(ticker, f"session {item.number}")
    return list(found.items())


def models(context: typer.Context, typed: str) -> list[tuple[str, str]]:
    """Names of models that have files, and with a colon their versions."""
    folder = _data(context) / "models"
    name, colon, _ = typed.partition(":")
    if colon:
        return [(f"{name}:{item.name}", "") for item in _folders(folder / name)]
    found = []
    for item in _folders(folder):
        versions = [version.name for version in _folders(item)]
        found += [(item.name, "the newest"), *((f"{item.name}:{version}", "") for version in versions)]
    return found


def _within(folder: str, file: str) -> Choices:
    """Folders in `folder` that hold `file`."""

    def found(_context: typer.Context, _typed: str) -> list[tuple[str, str]]:
        return [(str(item), "") for item in _folders(Path(folder)) if (item / file).exists()]

    return found


def _folders(folder: Path) -> Iterator[Path]:
    """The folders in it, the last changed first; none where it cannot be read."""
    with suppress(OSError):
        yield from sorted((item for item in folder.iterdir() if item.is_dir()), key=_changed, reverse=True)


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def settings(_context: typer.Context, _typed: str) -> list[tuple[str, str]]:
    """Names of settings, and of their groups."""
    from kflow.settings import declared, groups

    return [*((item.key, item.about) for item in declared()), *groups()]


def topics(_context: typer.Context, _typed: str) -> list[tuple[str, str]]:
    """What `kflow help` explains."""
    from kflow.cli.topics import TOPICS

    return [(name, "") for name in TOPICS]


def hand_written(_context: typer.Context, _typed: str) -> list[tuple[str, str]]:
    """Policies that need no model."""
    return [(name, "written by hand") for name in HAND_WRITTEN]


def judged(context: typer.Context, typed: str) -> list[tuple[str, str]]:
    """Models, and policies that need none."""
    return [*models(context, typed), *hand_written(context, typed)]


BY_METAVAR: Final[Mapping[str, Choices]] = {
    "N|RANGE": sessions,
    "SESSION": sessions,
    "TICKER": markets,
    "MODEL": models,
    "MODEL|PATH": models,
    "MODEL…": judged,
    "NAME,…": hand_written,
    "RUN": _within("runs", "manifest.json"),
    "SWEEP": _within("runs", "sweep.json"),
    "EVALUATION": _within("evaluations", "evaluation.json"),
    "[SETTING]…": settings,
    "[TOPIC]": topics,
}
