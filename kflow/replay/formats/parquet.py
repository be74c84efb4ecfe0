"""Parquet: the columns of `rows`, zstd; one file, or hive folders session=/market=/date= for query engines.

The file's metadata (key `kflow`) is JSON: schema version, session, market, digests, gaps, units.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from kflow.market.times import US_PER_S
from kflow.replay.formats import Target
from kflow.replay.formats.levels import LevelDigest, LevelFollower
from kflow.replay.formats.rows import COLUMNS, Row, moment_of, row_of
from kflow.replay.load import Moment

_BATCH: Final = 50_000
_DAY_NS: Final = 86_400 * US_PER_S * 1000
_TYPES: Final = {"int": pa.int64(), "text": pa.string(), "bool": pa.bool_(), "ints": pa.list_(pa.int64())}
_NARROW: Final = {
    "side": pa.int8(),
    "connection": pa.int32(),
    "sid": pa.int32(),
    "price_e4": pa.int16(),
    "yes_bid_e4": pa.int16(),
    "yes_ask_e4": pa.int16(),
    "yes_prices": pa.list_(pa.int16()),
    "no_prices": pa.list_(pa.int16()),
    "kind": pa.dictionary(pa.int32(), pa.string()),
    "market": pa.dictionary(pa.int32(), pa.string()),
    "reason": pa.dictionary(pa.int32(), pa.string()),
    "gap_kind": pa.dictionary(pa.int32(), pa.string()),
}
SCHEMA: Final = pa.schema([(name, _NARROW.get(name, _TYPES[kind])) for name, kind in COLUMNS])
# In hive folders these are in the path; a column of the same name beside it confuses readers.
_PARTITIONED: Final = pa.schema([column for column in SCHEMA if column.name != "market"])


class Writer:
    """Writes <market>.parquet, or session=N/market=M/date=D/part.parquet."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._schema = _PARTITIONED if target.partitioned else SCHEMA
        self._rows: list[Row] = []
        self._day = -1
        self._file: pq.ParquetWriter | None = None
        # Its footer is written last, when the digests are known; those of earlier days have what was known then.
        self._facts = {"session": target.session, "market": target.market, **target.facts}
        if not target.partitioned:
            self._open(target.directory / f"{target.stem}.parquet")

    def write(self, moment: Moment) -> None:
        if self._target.partitioned and moment.recv_ns // _DAY_NS != self._day:
            self._turn(moment.recv_ns // _DAY_NS)
        self._rows.append(row_of(moment))
        if len(self._rows) >= _BATCH:
            self._flush()

    def close(self, facts: dict[str, Any]) -> None:
        self._end({**self._facts, **facts})

    def _open(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = pq.ParquetWriter(path, self._schema, compression="zstd")

    def _turn(self, day: int) -> None:
        """Begin the file of a day; a clock that was set back does not reopen one."""
        if day < self._day:
            return
        self._end(self._facts)
        self._day = day
        date = _date(day)
        target = self._target
        folder = target.directory / f"session={target.session}" / f"market={target.stem}" / f"date={date}"
        self._open(folder / "part.parquet")

    def _end(self, facts: dict[str, Any]) -> None:
        if self._file is None:
            return
        self._flush()
        self._file.add_key_value_metadata({"kflow": json.dumps(facts, sort_keys=True)})
        self._file.close()
        self._file = None

    def _flush(self) -> None:
        if self._rows and self._file is not None:
            self._file.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
            self._rows.clear()


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * 86_400, UTC).date().isoformat()


def read(paths: Iterable[Path]) -> Iterator[Moment]:
    """The events of files that `Writer` made, whole or partitioned."""
    for path in paths:
        file = pq.ParquetFile(path)
        market = _facts(file)["market"] if "market" not in file.schema_arrow.names else None
        for batch in file.iter_batches():
            for row in batch.to_pylist():
                found = {name: value for name, value in row.items() if value is not None}
                if market is not None and found["kind"] != "gap":
                    found["market"] = market
                yield moment_of(found)


def metadata(path: Path) -> dict[str, Any]:
    """What a file says of itself."""
    return _facts(pq.ParquetFile(path))


def _facts(file: pq.ParquetFile) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((file.metadata.metadata or {})[b"kflow"])
    return found


def read_levels(paths: Iterable[Path]) -> LevelDigest:
    follower = LevelFollower()
    for moment in read(paths):
        follower.changes(moment)
    return follower.digest
