"""A folder of gap-free segments in Parquet: `deltas.parquet`, `segments.json.gz` `tickers.parquet`.

Columns and units: exch_ts_us, side (0 YES, 1 NO), price_milli (dollars x 1000, own price), delta_centi (1e-2 contract),
kind (2: a taker's removal, as whoever made the file believed); tickers: exch_ts_us, volume_centi (both sides counted),
price_e4, last_size_centi. A segment's snapshots are [deltas before it, seq, recv_ns, YES levels, NO levels, ...] with
levels of [price 1e-4 dollar, 1e-2 contract]; one that comes later ends the segment.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from kflow.errors import ConfigError, DataError
from kflow.market.times import close_named
from kflow.replay.recordings import Recording
from kflow.replay.stretches import CLOSED, INFERRED, LABELLED, LAST, RawStretch

_DELTAS: Final = ("segment", "exch_ts_us", "recv_ns", "side", "price_milli", "delta_centi", "kind")
_TICKERS: Final = ("segment", "exch_ts_us", "volume_centi", "price_e4", "last_size_centi")


class _Segment(msgspec.Struct):
    segment: int
    market: str
    snapshots: list[list[Any]]


def read(path: Path) -> Recording:
    """Raises ConfigError (pyarrow missing, unreadable), DataError (not of this layout)."""
    try:
        with gzip.open(path / "segments.json.gz") as file:
            segments = msgspec.json.decode(file.read(), type=list[_Segment])
    except (OSError, EOFError, zlib.error, msgspec.MsgspecError) as error:
        raise DataError(f"{path / 'segments.json.gz'} does not hold segments: {error}") from None
    deltas = _columns(path / "deltas.parquet", _DELTAS)
    tickers = _columns(path / "tickers.parquet", _TICKERS) if (path / "tickers.parquet").is_file() else None
    found = Recording(path.name, {}, INFERRED if tickers is not None else LABELLED)
    for segment in segments:
        found.stretches.setdefault(segment.market, []).append(_stretch(segment, deltas, tickers))
        found.facts[segment.market] = {"close_us": close_named(segment.market)}
    return found


def _stretch(
    segment: _Segment, deltas: dict[str, np.ndarray[Any, Any]], tickers: dict[str, np.ndarray[Any, Any]] | None
) -> RawStretch:
    rows = np.flatnonzero(deltas["segment"] == segment.segment)
    first, *later = segment.snapshots
    rows = rows[first[0] : later[0][0] if later else None]
    start = (tuple((p, s) for p, s in first[3]), tuple((p, s) for p, s in first[4]))
    columns = (
        deltas["exch_ts_us"][rows],
        deltas["side"][rows].astype(np.int64),
        deltas["price_milli"][rows].astype(np.int64) * 10,
        deltas["delta_centi"][rows].astype(np.int64),
    )
    raw = RawStretch(start, np.stack(columns, axis=1), ends=CLOSED if later else LAST)
    raw.lags = deltas["recv_ns"][rows] // 1000 - deltas["exch_ts_us"][rows]
    raw.labels = deltas["kind"][rows] == 2
    if tickers is not None:
        own = tickers["segment"] == segment.segment
        names = ("exch_ts_us", "volume_centi", "price_e4", "last_size_centi")
        raw.tickers = np.stack([tickers[name][own].astype(np.int64) for name in names], axis=1)
    return raw


def _columns(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray[Any, Any]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise ConfigError("Parquet needs pyarrow, which is not installed", hint="pip install 'kflow[export]'") from None
    try:
        table = parquet.read_table(path, columns=list(names))
    except (OSError, ArrowException) as error:
        raise DataError(f"cannot read {path}: {error}") from None
    missing = [name for name in names if name not in table.column_names]
    if missing:
        raise DataError(f"{path} has no column {', '.join(missing)}", hint="docs/replay.md: the layouts kflow reads")
    return {name: table[name].to_numpy() for name in names}
