"""From a session's events to tapes: each market's gap-free stretches, with its trades told apart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kflow.errors import DataError, UsageError
from kflow.market.book import Book
from kflow.market.events import BookDelta, BookSnapshot, Level, Side, Ticker, Trade
from kflow.market.grid import Grid
from kflow.replay.formats.levels import breaks
from kflow.replay.load import GapMark, Moment
from kflow.sim.inference import PRICES, infer_trades
from kflow.sim.tape import Stretch, Tape, compile_tape
from kflow.sim.trades import lay_trades
from kflow.units import DOLLAR, Price

CHANNEL: Final = "channel"  # trades were recorded
INFERRED: Final = "inferred"  # from the ticker's volume
LABELLED: Final = "labelled"  # by whoever made the recording
UNKNOWN: Final = "none"  # nothing tells: every removal counts as withdrawn
CLOSED: Final = "the market closed"
LAST: Final = "the recording ended"
# A stamp that lies further before the last one, or behind it, is no time of the same stretch.
_BACK_US: Final = 60_000_000
_SILENCE_US: Final = 3_600_000_000


@dataclass(slots=True)
class RawStretch:
    """A stretch while it is read: rows as tuples, or as an array of the same columns."""

    start: tuple[tuple[Level, ...], tuple[Level, ...]]
    deltas: Any = field(default_factory=list)  # µs, side, price, change
    trades: list[tuple[int, int, int, int]] = field(default_factory=list)  # see sim.trades
    tickers: Any = field(default_factory=list)  # µs, volume, last price, last size
    ends: str = LAST
    lags: Any = field(default_factory=list)  # µs from the venue's time to receipt, of deltas that tell both
    labels: NDArray[np.bool_] | None = None  # of each delta, whether a taker made it


class _Market:
    """One market while a session is read."""

    def __init__(self, name: str) -> None:
        self.book = Book(name)
        self.sid: int | None = None
        self.open: RawStretch | None = None
        self.stretches: list[RawStretch] = []
        self.us = 0

    def begin(self, event: BookSnapshot) -> None:
        self.book.replace(event.yes, event.no)
        self.sid = event.sid
        self.open = RawStretch((self.book.levels(Side.YES), self.book.levels(Side.NO)))
        self.stretches.append(self.open)

    def end(self, why: str) -> None:
        if self.open is not None:
            self.open.ends = why
            self.open = None


class Stretches:
    """Takes a session's moments in order, and gives each market's stretches."""

    def __init__(self) -> None:
        self.markets: dict[str, _Market] = {}
        self.trades = 0
        self._connection: int | None = None

    def add(self, moment: Moment) -> None:
        event = moment.event
        if self._connection is not None and moment.connection != self._connection:
            for market in self.markets.values():
                market.end("the connection was renewed")
        self._connection = moment.connection
        if isinstance(event, GapMark):
            self._gap(moment, event)
        elif type(event) is BookDelta:
            self._delta(moment, event)
        elif type(event) is BookSnapshot:
            self._snapshot(event)
        elif type(event) is Trade:
            self._trade(moment, event)
        elif type(event) is Ticker and event.volume is not None and moment.venue_us is not None:
            shown = self.markets.get(event.market)
            if shown is not None and shown.open is not None:
                # Tickers cover all deltas of their µs, and are stamped to the ms here: of that ms, then.
                shown.open.tickers.append((moment.venue_us + 999, event.volume, event.last or 0, 0))

    def _gap(self, moment: Moment, gap: GapMark) -> None:
        if not breaks(moment):
            return
        for name, known in self.markets.items():
            if gap.market in (None, name) and gap.sid in (None, known.sid):
                known.end(f"gap: {gap.kind}")

    def _snapshot(self, event: BookSnapshot) -> None:
        market = self.markets.setdefault(event.market, _Market(event.market))
        if market.open is not None:
            known = market.book.levels(Side.YES), market.book.levels(Side.NO)
            if known == (tuple(sorted(event.yes)), tuple(sorted(event.no))):
                return
            if not event.yes and not event.no:
                market.end(CLOSED)
                return
            market.end("a snapshot that differs")
        market.begin(event)

    def _delta(self, moment: Moment, event: BookDelta) -> None:
        market = self.markets.get(event.market)
        if market is None or market.open is None:
            return
        if event.size is None:
            market.end("the book was not live")
            return
        self._pass(market, moment)
        market.book.apply(Side(event.side), event.price, event.change)
        market.open.deltas.append((market.us, event.side, event.price, event.change))
        if moment.venue_us is not None:
            market.open.lags.append(moment.recv_ns // 1000 - moment.venue_us)

    @staticmethod
    def _pass(market: _Market, moment: Moment) -> None:
        """The market's time goes on. Where it jumps, a stamp is wrong or nothing happened for long: another stretch."""
        assert market.open is not None
        us = moment.venue_us if moment.venue_us is not None else market.us or moment.recv_ns // 1000
        if market.open.deltas and not -_BACK_US <= us - market.us <= _SILENCE_US:
            market.end("the venue's time jumped")
            market.open = RawStretch((market.book.levels(Side.YES), market.book.levels(Side.NO)))
            market.stretches.append(market.open)
            market.us = us
        market.us = max(market.us, us) if market.open.deltas else us

    def _trade(self, moment: Moment, event: Trade) -> None:
        self.trades += 1
        market = self.markets.get(event.market)
        if market is None or market.open is None or event.is_block or event.taker is None:
            return
        us = market.us if moment.venue_us is None else moment.venue_us
        maker = 1 - event.taker
        price = event.price if maker == Side.YES else Price(DOLLAR - event.price)
        market.open.trades.append((us, maker, price, event.size))


def read_stretches(moments: Iterable[Moment]) -> tuple[dict[str, list[RawStretch]], str]:
    """Stretches by market, and how trades are known in this recording."""
    found = Stretches()
    tickers = False
    for moment in moments:
        found.add(moment)
        tickers = tickers or type(moment.event) is Ticker
    how = CHANNEL if found.trades else INFERRED if tickers else UNKNOWN
    return {name: market.stretches for name, market in found.markets.items()}, how


def build_tape(market: str, raw: Iterable[RawStretch], how: str, grid: Grid | None, facts: dict[str, Any]) -> Tape:
    """Tell trades apart and put everything into columns. Without a grid, the coarsest that holds every price seen.

    Raises DataError for stretches that contradict themselves or hold nothing.
    """
    counts = {"laid": 0, "printed": 0, "intervals": 0, "exact": 0, "unexplained": 0}
    whole = [stretch for stretch in raw if len(stretch.deltas)]
    stretches = [_finished(stretch, how, counts) for stretch in whole]
    grid = grid or Grid.holding(_prices(whole))
    told = {
        **facts,
        "feed_lag_us": feed_lags(whole),
        "trades": how,
        **{f"trades_{name}": count for name, count in counts.items()},
    }
    return compile_tape(market, stretches, grid, told)


def _finished(raw: RawStretch, how: str, counts: dict[str, int]) -> Stretch:
    us, side, price, change = np.array(raw.deltas, np.int64).reshape(-1, 4).T
    side8, price32 = side.astype(np.int8), price.astype(np.int32)
    prints = np.zeros((0, 5), np.int64)
    if how == CHANNEL:
        laid = lay_trades(us, side8, price32, change, np.array(raw.trades, np.int64).reshape(-1, 4))
        traded, prints = laid.traded, laid.prints
        counts["laid"] += laid.laid
        counts["printed"] += laid.printed
    elif how == INFERRED:
        tickers = np.array(raw.tickers, np.int64).reshape(-1, 4)
        last = (tickers[:, 2], tickers[:, 3]) if len(tickers) and np.all(tickers[:, 3] > 0) else (None, None)
        starts = [dense_levels(levels) for levels in raw.start]
        found = infer_trades(us, side8, price32, change, starts[0], starts[1], tickers[:, 0], tickers[:, 1], *last)
        traded = np.where(found.kind == 2, -change, 0)
        counts["laid"] += int(traded.sum())
        counts["intervals"] += found.intervals
        counts["exact"] += found.exact
        counts["unexplained"] += found.unexplained
    elif raw.labels is not None:
        traded = np.where(raw.labels, -change, 0)
        counts["laid"] += int(traded.sum())
    else:
        traded = np.zeros(len(us), np.int64)
    return Stretch(
        start=raw.start, us=us, side=side8, price=price32, change=change, traded=traded, prints=prints, ends=raw.ends
    )


def feed_lags(stretches: Iterable[RawStretch]) -> list[int] | None:
    """How long frames took, 100 samples ascending: over the fastest of each stretch (its first percentile).

    Clocks differ by more than the way takes (market facts), so no more can be known. None where nothing was stamped.
    """
    over = []
    for stretch in stretches:
        lags = np.array(stretch.lags, np.int64)
        if len(lags):
            over.append(np.maximum(lags - int(np.percentile(lags, 1)), 0))
    if not over:
        return None
    return [int(lag) for lag in np.percentile(np.concatenate(over), (np.arange(100) + 0.5))]


def dense_levels(levels: Iterable[Level]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Sizes by own price."""
    dense = np.zeros(PRICES, np.int64)
    for price, size in levels:
        dense[price] = size
    return dense


def _prices(stretches: Iterable[RawStretch]) -> set[Price]:
    """Every YES price that a book held."""
    seen: set[int] = set()
    for stretch in stretches:
        for side, levels in enumerate(stretch.start):
            seen.update([DOLLAR - price if side else price for price, _ in levels])
        deltas = np.array(stretch.deltas, np.int64)
        seen.update(np.unique(np.where(deltas[:, 1] == 1, DOLLAR - deltas[:, 2], deltas[:, 2])).tolist())
    return {Price(price) for price in seen}


class NoSuchMarket(UsageError):
    """A market that was asked for is not in the recording."""


def wanted(found: Iterable[str], asked: Iterable[str] | None) -> list[str]:
    """Markets that were asked for, of those there are: by name, or by a pattern of * and ?.

    Raises UsageError naming what is not there.
    """
    names = sorted(found)
    if asked is None:
        return names
    patterns = sorted(set(asked))
    missing = [pattern for pattern in patterns if not any(fnmatchcase(name, pattern) for name in names)]
    if missing:
        raise NoSuchMarket(f"this recording has no market {', '.join(missing)}", hint=f"it has {_some(names)}")
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") or "none"


def nothing_in(source: str) -> DataError:
    """The error of a recording in which no book can be followed."""
    return DataError(f"{source} holds no book that can be followed", hint="kflow sessions show N: gaps and markets")
