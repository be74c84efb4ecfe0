"""The formats that sessions are exported in. Each has a `Writer` and a reader of what it wrote."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Protocol, cast

from kflow.errors import ConfigError, UsageError
from kflow.replay.formats.levels import LevelDigest
from kflow.replay.load import Moment

# Rises when a column changes its meaning or leaves.
SCHEMA_VERSION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where one market of one session is written, and what the files say of themselves."""

    directory: Path
    stem: str  # a safe name for the market; every file's name contains it
    market: str
    session: int
    facts: dict[str, Any] = field(default_factory=dict)
    began_us: int | None = None  # the venue's time of the first event that has one
    levels: int = 10  # price levels per side, where the format has a fixed number
    partitioned: bool = False  # parquet: hive folders by session, market and day


class FormatWriter(Protocol):
    """Takes one market's events of one session, in order."""

    def __init__(self, target: Target) -> None: ...

    def write(self, moment: Moment) -> None: ...

    def close(self, facts: dict[str, Any]) -> None:
        """Finish the files; `facts` is what is known only now (digests, counts, gaps)."""


@dataclass(frozen=True, slots=True)
class Format:
    """One format. `whole`: it carries every column, so that reading gives the same events; else the same levels."""

    name: str
    about: str
    module: str
    whole: bool
    needs: str = ""  # a module that an extra brings

    def writer(self, target: Target) -> FormatWriter:
        return cast("FormatWriter", self._load().Writer(target))

    def read(self, paths: Iterable[Path]) -> Iterator[Moment]:
        """Events as they were written; formats that are `whole` only."""
        return cast("Iterator[Moment]", self._load().read(sorted(paths)))

    def read_levels(self, paths: Iterable[Path]) -> LevelDigest:
        """The level changes that the files hold."""
        return cast("LevelDigest", self._load().read_levels(sorted(paths)))

    def _load(self) -> Any:
        if self.needs:
            try:
                import_module(self.needs)
            except ImportError:
                raise ConfigError(
                    f"the format {self.name} needs {self.needs}, which is not installed",
                    hint="pip install 'kflow[export]'",
                ) from None
        return import_module(self.module)


FORMATS: Final = {
    found.name: found
    for found in (
        Format("csv", "one row per event, all columns", "kflow.replay.formats.csv", True),
        Format("jsonl", "one object per event, all columns", "kflow.replay.formats.jsonl", True),
        Format("parquet", "all columns, zstd", "kflow.replay.formats.parquet", True, "pyarrow"),
        Format("lobster", "message and order book files of LOBSTER", "kflow.replay.formats.lobster", False),
        Format("tardis", "incremental_book_L2 and trades of tardis.dev", "kflow.replay.formats.tardis", False),
        Format("hftbacktest", "npz of hftbacktest's events", "kflow.replay.formats.hftbacktest", False),
    )
}


def format_named(name: str) -> Format:
    """Raises UsageError for one that does not exist."""
    found = FORMATS.get(name)
    if found is None:
        raise UsageError(f"there is no format {name}", hint=f"choose one of {', '.join(FORMATS)}")
    return found
