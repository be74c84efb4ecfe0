"""What was played, kept in files while an evaluation goes on: one that was stopped does not play it again."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from kflow.evaluate.outcome import Curve, Episodes, Fills, Orders, Played

FOLDER: Final = "parts"
_COLUMNS: Final[dict[str, Any]] = {"episodes": Episodes, "orders": Orders, "fills": Fills, "curve": Curve}


class Unit(NamedTuple):
    """What is played in one go, with all seeds. `stage`: of a walk forward, from 0."""

    contestant: str
    fill_model: str
    seeds: int
    scale: int = 1
    stage: int = 0

    def path(self, folder: Path) -> Path:
        """Where it is kept: contestants' names may be anything, so a hash names the file."""
        name = hashlib.sha256(repr(self).encode()).hexdigest()[:16]
        return folder / FOLDER / f"{name}.npz"


def save(folder: Path, unit: Unit, played: Sequence[Played]) -> None:
    """Keep what came of each seed, whole or not at all."""
    arrays: dict[str, Any] = {}
    for one in played:
        for table in _COLUMNS:
            columns = getattr(one, table)._asdict()
            arrays |= {f"{one.seed}.{table}.{name}": np.asarray(column) for name, column in columns.items()}
        arrays[f"{one.seed}.actions"] = one.actions
    path = unit.path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    with draft.open("wb") as file:
        np.savez(file, **arrays)
    draft.replace(path)


def load(folder: Path, unit: Unit) -> list[Played] | None:
    """What was kept of it; None where nothing is, or not all of it."""
    try:
        with unit.path(folder).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            kept = {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile):
        return None
    return [_of_seed(unit, seed, kept) for seed in range(unit.seeds)]


def _of_seed(unit: Unit, seed: int, kept: dict[str, Any]) -> Played:
    tables: dict[str, Any] = {
        table: kind(**{name: kept[f"{seed}.{table}.{name}"] for name in kind._fields})
        for table, kind in _COLUMNS.items()
    }
    tables["curve"] = tables["curve"]._replace(every_us=int(tables["curve"].every_us))
    return Played(unit.contestant, unit.fill_model, seed, unit.scale, **tables, actions=kept[f"{seed}.actions"])


def forget(folder: Path) -> None:
    """Remove what is needed no more."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)


def joined(parts: Sequence[Played]) -> Played:
    """One of several that were played on different episodes, as the folds of a walk forward are."""
    first = parts[0]
    episodes = Episodes(*(np.concatenate(columns) for columns in zip(*(part.episodes for part in parts), strict=True)))
    rows = np.cumsum([0, *(len(part.episodes.market) for part in parts)])
    sent = np.cumsum([0, *(len(part.orders.episode) for part in parts)])
    orders = [part.orders._replace(episode=part.orders.episode + at) for part, at in zip(parts, rows, strict=False)]
    fills = [
        part.fills._replace(order=part.fills.order + to, episode=part.fills.episode + at)
        for part, at, to in zip(parts, rows, sent, strict=False)
    ]
    points = max(part.curve.equity.shape[1] for part in parts)

    def widened(array: Any) -> Any:
        return np.pad(array, ((0, 0), (0, points - array.shape[1])), mode="edge")

    return first._replace(
        episodes=episodes,
        orders=Orders(*(np.concatenate(columns) for columns in zip(*orders, strict=True))),
        fills=Fills(*(np.concatenate(columns) for columns in zip(*fills, strict=True))),
        curve=Curve(
            first.curve.every_us,
            np.concatenate([widened(part.curve.equity) for part in parts]),
            np.concatenate([widened(part.curve.position) for part in parts]),
        ),
        actions=np.sum([part.actions for part in parts], axis=0),
    )
