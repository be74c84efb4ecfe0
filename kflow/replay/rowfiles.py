"""Rows of a session's tables as Parquet, column for column, zstd. Each names its market by number and by ticker."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from kflow.errors import DataError
from kflow.store import copy, filing
from kflow.store.copy import BinaryTable
from kflow.store.read import DELTA, UNKNOWN, WHOLE, Slice

_Row = TypeVar("_Row")

TABLES: Final[Mapping[str, BinaryTable]] = {
    "deltas": copy.DELTAS,
    "snapshots": copy.SNAPSHOTS,
    "trades": copy.TRADES,
    "tickers": copy.TICKERS,
    "frames": copy.FRAMES,
}
_TICKER: Final = "market_ticker"
_TYPES: Final = {
    "smallint": pa.int16(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "boolean": pa.bool_(),
    "text": pa.string(),
    "bytea": pa.binary(),
    "smallint[]": pa.list_(pa.int16()),
    "bigint[]": pa.list_(pa.int64()),
}
_NULLABLE: Final = ("venue_us", "size_e2")  # of a delta array: UNKNOWN there
_GROUP_ROWS: Final = 2**19
_GROUP_BYTES: Final = 2**26  # books and frames are large: as many rows of them would not fit in memory
_BATCH_ROWS: Final = 2**16
# Rise slowly: their differences take fewer bytes than any dictionary of them.
_RISING: Final = ("recv_ns", "venue_us", "venue_ms", "seq")


def schema(name: str) -> pa.Schema:
    """The columns of one table, and beside market_id the ticker."""
    table = TABLES[name]
    columns = [
        pa.field(column, _TYPES[kind.removesuffix("?")], nullable=kind.endswith("?"))
        for column, kind in zip(table.columns, table.types, strict=True)
    ]
    if "market_id" in table.columns:
        columns.append(pa.field(_TICKER, pa.dictionary(pa.int32(), pa.string())))
    return pa.schema(columns)


class RowFile:
    """One table's rows on their way into a file."""

    def __init__(self, folder: Path, name: str, session_id: int, markets: Mapping[int, str]) -> None:
        self._schema = schema(name)
        self._session = session_id
        self._numbers = np.array(sorted(markets), dtype=np.int32)
        self._tickers = pa.array([markets[number] for number in sorted(markets)], pa.string())
        self._waiting: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0
        rising = {column: "DELTA_BINARY_PACKED" for column in _RISING if column in self._schema.names}
        lists = {"yes_prices", "yes_sizes", "no_prices", "no_sizes"}
        others = [column for column in self._schema.names if column not in rising and column not in lists]
        self._file = filing.new_file(folder / f"{name}.parquet")
        self._writer = pq.ParquetWriter(
            self._file.__enter__(),
            self._schema,
            compression="zstd",
            use_dictionary=others,
            column_encoding=rising,
            write_page_checksum=True,
        )

    def add_deltas(self, rows: NDArray[np.void]) -> None:
        """An array of dtype read.DELTA."""
        columns = []
        for column in self._schema.names:
            if column == _TICKER:
                columns.append(self._named(rows["market_id"]))
            elif column == "session_id":
                columns.append(pa.array(np.full(len(rows), self._session, np.int32)))
            else:
                values = np.ascontiguousarray(rows[column])
                columns.append(pa.array(values, mask=values == UNKNOWN if column in _NULLABLE else None))
        self._add(pa.RecordBatch.from_arrays(columns, schema=self._schema))

    def add_rows(self, rows: Sequence[Sequence[Any]]) -> None:
        """Tuples in the order of the table's columns."""
        names = [column for column in self._schema.names if column != _TICKER]
        columns = [
            pa.array(values, self._schema.field(name).type)
            for name, values in zip(names, zip(*rows, strict=True), strict=True)
        ]
        if _TICKER in self._schema.names:
            columns.append(self._named(columns[names.index("market_id")].to_numpy()))
        self._add(pa.RecordBatch.from_arrays(columns, schema=self._schema))

    def _named(self, numbers: NDArray[np.int32]) -> pa.DictionaryArray:
        """Tickers of markets; null where a number is none of the session's."""
        if not len(self._numbers):
            return pa.DictionaryArray.from_arrays(pa.nulls(len(numbers), pa.int32()), self._tickers)
        places = np.minimum(np.searchsorted(self._numbers, numbers), len(self._numbers) - 1).astype(np.int32)
        strange = self._numbers[places] != numbers
        return pa.DictionaryArray.from_arrays(pa.array(places, mask=strange), self._tickers)

    def _add(self, batch: pa.RecordBatch) -> None:
        self._waiting.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        if self._rows >= _GROUP_ROWS or self._bytes >= _GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.Table.from_batches(self._waiting), row_group_size=_GROUP_ROWS)
            self._waiting, self._rows, self._bytes = [], 0, 0

    def close(self) -> None:
        self._flush()
        self._writer.close()
        self._file.__exit__(None, None, None)


def read_deltas(folder: Path, which: Slice) -> Iterator[NDArray[np.void]]:
    """Arrays of dtype read.DELTA, in the order of the file."""
    for batch in _batches(folder, "deltas"):
        rows = np.empty(batch.num_rows, DELTA)
        for column in DELTA.names or ():
            values = batch.column(column)
            rows[column] = (values.fill_null(UNKNOWN) if column in _NULLABLE else values).to_numpy(zero_copy_only=False)
        chosen = rows[_wanted(rows["recv_ns"], rows["market_id"], which)]
        if len(chosen):
            yield chosen


def read_rows(folder: Path, name: str, make: Callable[..., _Row], which: Slice) -> Iterator[_Row]:
    """Rows of another table, in the order of the file."""
    columns = TABLES[name].columns
    for batch in _batches(folder, name):
        numbers = batch.column("market_id") if "market_id" in columns else None
        wanted = _wanted(batch.column("recv_ns").to_numpy(), None if numbers is None else numbers.to_numpy(), which)
        chosen = batch if wanted.all() else batch.filter(pa.array(wanted))
        yield from map(make, *(chosen.column(column).to_pylist() for column in columns))


def pack(folder: Path, name: str, session_id: int, numbers: Mapping[int, int]) -> Iterator[bytes]:
    """The rows as BinaryTable.write takes them; `numbers`: of a market in the file, in the database that they go to."""
    table = TABLES[name]
    if name == "deltas":
        for batch in read_deltas(folder, WHOLE):
            columns: list[list[Any]] = [
                [session_id] * len(batch) if column == "session_id" else batch[column].tolist()
                for column in table.columns
            ]
            for place, column in enumerate(table.columns):
                if column in _NULLABLE:
                    columns[place] = [None if value == UNKNOWN else value for value in columns[place]]
                elif column == "market_id":
                    columns[place] = [numbers[value] for value in columns[place]]
            yield table.pack_rows(list(zip(*columns, strict=True)))
        return
    session = table.columns.index("session_id")
    market = table.columns.index("market_id") if "market_id" in table.columns else None
    for rows in _chunks(read_rows(folder, name, lambda *values: values, WHOLE)):
        changed = []
        for row in rows:
            values = list(row)
            values[session] = session_id
            if market is not None:
                values[market] = numbers[values[market]]
            changed.append(values)
        yield table.pack_rows(changed)


def _chunks(rows: Iterator[_Row]) -> Iterator[list[_Row]]:
    while chunk := list(islice(rows, _BATCH_ROWS)):
        yield chunk


def _batches(folder: Path, name: str) -> Iterator[pa.RecordBatch]:
    path = folder / f"{name}.parquet"
    try:
        with filing.opened(path) as raw:
            file = pq.ParquetFile(raw, page_checksum_verification=True)
            if not file.schema_arrow.equals(schema(name)):
                raise DataError(f"{path} has other columns than kflow writes", hint="take another copy")
            yield from file.iter_batches(_BATCH_ROWS)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read: {error}", hint="take another copy") from None


def _wanted(times: NDArray[Any], markets: NDArray[Any] | None, which: Slice) -> NDArray[np.bool_]:
    chosen = np.ones(len(times), bool)
    if which.start_ns is not None:
        chosen &= times >= which.start_ns
    if which.end_ns is not None:
        chosen &= times < which.end_ns
    if which.market_ids is not None and markets is not None:
        chosen &= np.isin(markets, list(which.market_ids))
    return chosen
