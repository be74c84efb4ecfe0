"""What pandas, polars and DuckDB read in an export is what kflow itself replays: every event, every gap, the last book.

They run examples/read_with_*.py by an interpreter that has them and not kflow: `make clients` installs them.
"""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from kflow.cli.main import run
from kflow.market.events import Trade
from kflow.replay.formats.levels import LevelFollower
from kflow.replay.load import GapMark, Moment, Pick, read_moments
from kflow.store.postgres import Connection
from kflow.store.sessions import read_sessions
from kflow.testing.postgres import Database
from kflow.units import DOLLAR
from tests.conformance.conftest import interpreter_of, plain_environ

from .conftest import MARKETS, Flow, Script, Stored

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
Table = list[list[int | None]]


@pytest.fixture
def exported(store: Callable[..., Stored], database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two markets on three connections, the last of which never tells of one: its book stays unknown."""
    store(Script([Flow(1).take(200), Flow(2).take(60), Flow(3, markets=MARKETS[:1]).take(20)]))
    monkeypatch.setenv("DATABASE_URL", database.dsn)
    monkeypatch.setenv("KFLOW_DATA_DIR", str(tmp_path / "data"))
    folder = tmp_path / "exports"
    assert run(["replay", "export", "--sessions", "1", "--format", "parquet", "--out", str(folder)]) == 0
    return folder


@pytest.mark.parametrize("library", ["pandas", "polars", "duckdb"])
def test_an_export_is_read_as_kflow_replays_it(library: str, exported: Path, conn: Connection, tmp_path: Path) -> None:
    sums = read_by(library, exported, tmp_path)
    (session,) = read_sessions(conn, [1])
    for market, told in zip(sorted(MARKETS), sums, strict=True):
        replayed = Replayed(list(read_moments(conn, session, Pick(markets=frozenset([market])))))
        assert told == {"market": market, **replayed.sums}
        assert table(tmp_path / "0001" / f"{market}.top.csv") == replayed.tops
        assert table(tmp_path / "0001" / f"{market}.book.csv") == replayed.book
        manifest = json.loads((exported / "0001" / f"{market}.parquet.json").read_text())
        assert (told["rows"], replayed.digest) == (sum(manifest["counts"].values()), manifest["level_digest"])
    assert [told["gaps"] for told in sums] == [["disconnect"] * 2] * 2
    assert [told["last"] == [None, None] for told in sums] == [False, True]


def read_by(library: str, exports: Path, out: Path) -> list[dict[str, Any]]:
    """What a script prints of an export; the rest it writes into `out`."""
    script = EXAMPLES / f"read_with_{library}.py"
    command = [interpreter_of("readers"), script, exports, "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, env=plain_environ(), timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def table(path: Path) -> Table:
    """Whole numbers, or nothing."""
    with path.open(newline="") as file:
        return [[int(cell) if cell else None for cell in row] for row in list(csv.reader(file))[1:]]


class Replayed:
    """The same of kflow's own replay, event by event."""

    def __init__(self, moments: Sequence[Moment]) -> None:
        follower = LevelFollower()
        self.tops: Table = []
        unknown, before = 0, None
        for moment in moments:
            if before is not None and not follower.known:
                unknown += moment.recv_ns - before
            follower.changes(moment)
            before = moment.recv_ns
            yes, no = ({price for price in side if follower.known} for side in follower.digest.levels)
            self.tops.append([moment.recv_ns, max(yes, default=None), DOLLAR - max(no) if no else None])
        trades = [moment.event for moment in moments if isinstance(moment.event, Trade)]
        self.sums = {
            "rows": len(moments),
            "trades": len(trades),
            "traded_e2": sum(trade.size for trade in trades),
            "gaps": [moment.event.kind for moment in moments if isinstance(moment.event, GapMark)],
            "unknown_ns": unknown,
            "last": self.tops[-1][1:],
        }
        levels = enumerate(follower.digest.levels if follower.known else ())
        self.book = [[side, price, size] for side, sizes in levels for price, size in sorted(sizes.items())]
        self.digest = follower.digest.hexdigest()
