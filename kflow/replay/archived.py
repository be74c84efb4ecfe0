"""Sessions read from an archive, as they are read from the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kflow.errors import UsageError
from kflow.replay import kept, rowfiles
from kflow.replay.kept import Facts, Kept
from kflow.replay.source import ConnectionRow
from kflow.store import filing
from kflow.store.ledger import Standing
from kflow.store.read import WHOLE, FrameRow, Slice, SnapshotRow, TickerRow, TradeRow
from kflow.store.sessions import GapRow


class ArchivedRows:
    """One session's rows in its folder."""

    def __init__(self, folder: Path, facts: Facts | None = None) -> None:
        self.folder = folder
        self.facts = facts or kept.read_facts(folder)
        self.session_id = self.facts.session.id

    def markets(self) -> dict[int, str]:
        return {market.id: market.ticker for market in self.facts.markets}

    def deltas(self, which: Slice = WHOLE) -> Iterator[NDArray[np.void]]:
        return rowfiles.read_deltas(self.folder, which)

    def snapshots(self, which: Slice = WHOLE) -> Iterator[SnapshotRow]:
        return rowfiles.read_rows(self.folder, "snapshots", SnapshotRow, which)

    def trades(self, which: Slice = WHOLE) -> Iterator[TradeRow]:
        return rowfiles.read_rows(self.folder, "trades", TradeRow, which)

    def tickers(self, which: Slice = WHOLE) -> Iterator[TickerRow]:
        return rowfiles.read_rows(self.folder, "tickers", TickerRow, which)

    def frames(self) -> Iterator[FrameRow]:
        return rowfiles.read_rows(self.folder, "frames", FrameRow, WHOLE)

    def gaps(self) -> tuple[GapRow, ...]:
        return tuple(self.facts.gaps)

    def connections(self) -> tuple[ConnectionRow, ...]:
        return tuple(self.facts.connections)

    @contextmanager
    def journal(self) -> Iterator[Path]:
        found, _ = kept.read_kept(self.folder)
        with kept.journal_of(self.folder, found) as directory:
            yield directory


def open_rows(standing: Standing) -> ArchivedRows:
    """The archive of a session whose rows were removed. Raises DataError where it is not where it was."""
    for copy in standing.copies:
        folder = Path(copy.folder or "")
        if copy.step != "archived" or not (folder / filing.MANIFEST).is_file():
            continue
        found, sha256 = kept.read_kept(folder)
        if sha256 == copy.manifest:
            return ArchivedRows(folder, whole_facts(folder, found))
    raise standing.gone()


def whole_facts(folder: Path, found: Kept) -> Facts:
    """The facts of a kept session, checked. The rows are checked by whoever reads all of them."""
    filing.check(folder, [file for file in found.files if file.name == kept.FACTS])
    return kept.read_facts(folder)


def find(root: Path, number: int) -> Path:
    """The folder of a kept session: in an archive, in a backup, in the last of some backups, or itself.

    Raises UsageError.
    """
    name = kept.name_of(number)
    backups = sorted(root.glob(f"*T*Z/sessions/{name}"), reverse=True)
    for folder in (root / name, root / "sessions" / name, *backups, root):
        whole = (folder / filing.MANIFEST).is_file() and (folder / kept.FACTS).is_file()
        if whole and kept.read_kept(folder)[0].session == number:
            return folder
    raise UsageError(
        f"there is no session {number} in {root}", hint="name a folder that kflow db archive or kflow db backup wrote"
    )
