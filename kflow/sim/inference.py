"""Which removals were trades: a feed without trades, explained from its books and the volume of its tickers.

Between two tickers the volume rises by twice the contracts that takers removed from the touch. Removals of one side in
one exchange µs, each at the best price when reached, are one sweep, taken or left whole; of the subsets of sweeps with
the right sum the most plausible is kept. Plausible is what fits the queue of orders: takers eat into the order in
front, makers withdraw whole orders. A ticker's last trade, where given, must be the last of the subset.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kflow.errors import DataError

I8 = NDArray[np.int8]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
Bools = NDArray[np.bool_]

ADD, CANCEL, TRADE = 0, 1, 2

DOLLAR: Final = 10_000
PRICES: Final = DOLLAR + 1  # 0 to one dollar in 1e-4

# How a removal fits the orders of its level: the one in front is from before the start; it equals the one in front; it
# equals another; it is a part of the one in front; it is more than that one and equals none.
_UNSEEN, _FRONT, _BEHIND, _PART, _BEYOND = range(5)
# Log odds of trade against cancel, 1e-3 nats, by fit; counted on the intervals of the recordings of May 2026 which have
# one explanation only.
_WORTH = np.array([2_200, -1_800, -3_200, 3_200, -800])
_SWEPT: Final = 5_000  # several orders at once
_LINKED: Final = 2_500  # what the other side does in that µs is what its taker would do
_ALONE: Final = -2_000  # the other side does something else
# An explanation this much less plausible than another, a thousand to one, does not count against it.
_MARGIN: Final = 6_900
# Sweeps searched in one interval: they are bits of an int64. The busiest interval of ten hours has 62.
_BITS: Final = 62
# Different sums kept in a search; 30 of 21,218 intervals have more, and lose the largest.
_SUMS: Final = 2**17

# Columns of a search: a sum, the plausibility of the best subset that has it, that subset, and which sweeps lie in
# every and in some subset within the margin.
_SUM, _SCORE, _PICK, _EVERY, _SOME = range(5)


class Inferred(NamedTuple):
    """What each delta was, and how well that explains the volume. Contracts are 1e-2, counted once."""

    kind: I8  # [E] 0 add, 1 cancel or leg of an amend, 2 taken by a taker
    sure: Bools  # [E] the same in every plausible explanation of an interval that has one; adds always
    intervals: int  # between two tickers, with a rise in volume
    exact: int  # of them explained to the contract
    settled: int  # of them exact with every removal sure
    volume: int  # contracts traded, by the tickers
    unexplained: int  # of them more than what is labelled as trades; approximations never label more than was traded


class _Sweeps(NamedTuple):
    """Groups of removals which one taker may have made, in the order of the feed; all [S]."""

    first: I64  # delta its exchange µs begins with
    end: I64  # one past the last delta of that µs
    side: I64
    size: I64  # contracts, 1e-2
    score: I64  # log odds of a trade, 1e-3 nats
    last: I64  # delta of its last removal


class _Queues(NamedTuple):
    """The orders of every level, linked; -1 is none. A level of the start counts as one order, the first ones."""

    size: I64  # [orders]
    before: I64  # [orders]
    after: I64  # [orders]
    front: I64  # [2, PRICES]
    back: I64  # [2, PRICES]


@njit(cache=True)
def _append(queues: _Queues, s: int, p: int, order: int, size: int) -> None:
    behind = queues.back[s, p]
    queues.size[order], queues.before[order], queues.back[s, p] = size, behind, order
    if behind >= 0:
        queues.after[behind] = order
    else:
        queues.front[s, p] = order


@njit(cache=True)
def _unlink(queues: _Queues, s: int, p: int, order: int) -> None:
    before, after = queues.before[order], queues.after[order]
    if before >= 0:
        queues.after[before] = after
    else:
        queues.front[s, p] = after
    if after >= 0:
        queues.before[after] = before
    else:
        queues.back[s, p] = before


@njit(cache=True)
def _remove(queues: _Queues, s: int, p: int, q: int, seen: int) -> int:
    """Take `q` from a level: the order of that size, the front one or else the latest; or from the front. The fit."""
    front, hit = queues.front[s, p], queues.back[s, p]
    if front >= seen and queues.size[front] == q:
        hit = front
    while hit >= seen and queues.size[hit] != q:
        hit = queues.before[hit]
    if hit >= seen:
        _unlink(queues, s, p, hit)
        return _FRONT if hit == front else _BEHIND
    fit = _UNSEEN if front < seen else _PART if queues.size[front] > q else _BEYOND
    while q > 0:
        eaten = min(queues.size[front], q)
        queues.size[front] -= eaten
        q -= eaten
        if queues.size[front] == 0:
            _unlink(queues, s, p, front)
            front = queues.front[s, p]
    return fit


@njit(cache=True)
def _replay(side: I8, price: I32, change: I64, book: I64) -> tuple[Bools, I8, int]:
    """(removals at the touch, how removals fit their level's orders, first delta below zero or -1). Eats `book`."""
    touch, fit = np.zeros(len(side), np.bool_), np.zeros(len(side), np.int8)
    seen = int(np.count_nonzero(book))
    link = np.full((3, len(side) + seen), -1)
    queues = _Queues(link[0], link[1], link[2], np.full(book.shape, -1), np.full(book.shape, -1))
    best, order = np.full(2, -1), 0
    for s, p in np.argwhere(book):
        _append(queues, s, p, order, book[s, p])
        best[s], order = p, order + 1
    for i in range(len(side)):
        s, p = side[i], price[i]
        book[s, p] += change[i]
        if book[s, p] < 0:
            return touch, fit, i
        if change[i] > 0:
            _append(queues, s, p, order, change[i])
            best[s], order = max(best[s], p), order + 1
        elif change[i] < 0:
            touch[i] = p == best[s]
            fit[i] = _remove(queues, s, p, -change[i], seen)
        while best[s] >= 0 and book[s, best[s]] == 0:
            best[s] -= 1
    return touch, fit, -1


@njit(cache=True)
def _sweep(
    first: int, end: int, s: int, side: I8, price: I32, change: I64, touch: Bools, fit: I8
) -> tuple[int, int, int]:
    """(size, score, last removal) of what side `s` lost in one µs; size 0 where no taker can have made it."""
    size = legs = net = others = 0
    last, top, reach, gave = -1, 0, -1, False
    for i in range(first, end):
        if side[i] != s:
            others += 1
            net -= change[i]
            gave = gave or change[i] < 0
            reach = max(reach, price[i]) if change[i] > 0 else reach
        elif not touch[i]:  # an add, so a leg of an amend; or a removal elsewhere
            return 0, 0, -1
        else:
            size -= change[i]
            legs += 1
            last, top = i, max(top, price[i])
    score = _SWEPT if legs > 1 else _WORTH[fit[last]]
    if others > 0:
        # An order amended across the touch loses what it takes; what a taker leaves over rests at a price that crosses.
        linked = (gave and net == size) or reach + top >= DOLLAR
        score = max(score, _LINKED) if linked else min(score, _ALONE)
    return size, score, last


@njit(cache=True)
def _sweeps(us: I64, side: I8, price: I32, change: I64, touch: Bools, fit: I8) -> _Sweeps:
    rows = np.empty((6, np.count_nonzero(touch)), np.int64)
    found = _Sweeps(rows[0], rows[1], rows[2], rows[3], rows[4], rows[5])
    k = first = 0
    while first < len(us):
        end = first + 1
        while end < len(us) and us[end] == us[first]:
            end += 1
        for s in range(2):
            size, score, last = _sweep(first, end, s, side, price, change, touch, fit)
            if size > 0:
                found.first[k], found.end[k], found.side[k] = first, end, s
                found.size[k], found.score[k], found.last[k] = size, score, last
                k += 1
        first = end
    rows = rows[:, :k]
    return _Sweeps(rows[0], rows[1], rows[2], rows[3], rows[4], rows[5])


@njit(cache=True)
def _join(row: I64, score: int, pick: int, every: int, some: int) -> None:
    """Another subset of the same sum; of equals the first stays the best."""
    gap = score - row[_SCORE]
    if gap < -_MARGIN:
        return
    if gap > _MARGIN:
        row[_EVERY], row[_SOME] = every, some
    else:
        row[_EVERY] &= every
        row[_SOME] |= some
    if gap > 0:
        row[_SCORE], row[_PICK] = score, pick


@njit(cache=True)
def _merge(old: I64, k: int, new: I64, size: int, score: int, bit: int, least: int, most: int) -> tuple[int, bool]:
    """The rows of `old` without and with one more sweep, ascending, sums in [least, most]: (rows, none was lost)."""
    x = y = w = 0
    while x < k or y < k:
        without = old[x, _SUM] if x < k else most + 1
        with_it = old[y, _SUM] + size if y < k else most + 1
        total = min(without, with_it)
        if total > most:
            break
        if total >= least:
            if w == len(new):
                return w, False
            if without == total:
                new[w] = old[x]
            if with_it == total:
                row = old[y]
                if without != total:
                    new[w, _SUM], new[w, _SCORE] = total, row[_SCORE] + score
                    new[w, _PICK], new[w, _EVERY], new[w, _SOME] = row[_PICK] | bit, row[_EVERY] | bit, row[_SOME] | bit
                else:
                    _join(new[w], row[_SCORE] + score, row[_PICK] | bit, row[_EVERY] | bit, row[_SOME] | bit)
            w += 1
        x += without == total
        y += with_it == total
    return w, True


@njit(cache=True)
def _explain(size: I64, score: I64, may_end: Bools, target: int, old: I64, new: I64) -> tuple[bool, int, int, int]:
    """(found, pick, every, some): the most plausible subset of `target` whose last sweep may be the last.

    Where only others sum up, the best of those, with `some` all and `every` none. So where the search was cut short.
    """
    answer = np.zeros(5, np.int64)
    answer[_SUM] = -1
    old[0] = 0
    k, rest, whole = 1, size.sum(), True
    for i in range(len(size)):
        bit = 1 << i
        if may_end[i]:
            z = np.searchsorted(old[:k, _SUM], target - size[i])
            if z < k and old[z, _SUM] == target - size[i]:
                row = old[z]
                if answer[_SUM] < 0:
                    answer[:] = row[_SUM], row[_SCORE] + score[i], row[_PICK] | bit, row[_EVERY] | bit, row[_SOME] | bit
                else:
                    _join(answer, row[_SCORE] + score[i], row[_PICK] | bit, row[_EVERY] | bit, row[_SOME] | bit)
        rest -= size[i]
        k, kept = _merge(old, k, new, int(size[i]), int(score[i]), bit, target - rest, target)
        whole &= kept
        old, new = new, old
    if answer[_SUM] < 0:
        if k == 0 or old[k - 1, _SUM] != target:
            return False, 0, 0, -1
        return True, old[k - 1, _PICK], 0, -1
    if not whole:
        return True, answer[_PICK], 0, -1
    return True, answer[_PICK], answer[_EVERY], answer[_SOME]


@njit(cache=True)
def _approximate(size: I64, score: I64, target: int) -> int:
    """Sweeps more plausibly trades than not, the most plausible first, while they fit into `target`."""
    pick = 0
    for i in np.argsort(-score, kind="mergesort"):
        if score[i] > 0 and size[i] <= target:
            target -= size[i]
            pick |= 1 << i
    return pick


@njit(cache=True)
def _solve(
    price: I32, change: I64, sweeps: _Sweeps, own: I64, rise: int, last_price: int, last_size: int, old: I64, new: I64
) -> tuple[bool, int, int, int]:
    """As `_explain`, for the sweeps `own` and a rise in volume; what cannot be explained is approximated."""
    size, score, last = sweeps.size[own], sweeps.score[own], sweeps.last[own]
    if rise % 2 == 0:
        yes = np.where(sweeps.side[own] == 0, price[last], DOLLAR - price[last])
        may_end = (last_price < 0) | ((yes == last_price) & (-change[last] == last_size))
        found, pick, every, some = _explain(size, score, may_end, rise // 2, old, new)
        if found:
            return found, pick, every, some
    return False, _approximate(size, score, rise // 2), 0, -1


@njit(cache=True)
def _mark(
    kind: I8, sure: Bools, side: I8, change: I64, sweeps: _Sweeps, own: I64, pick: int, every: int, some: int
) -> tuple[int, bool]:
    """Write down what became of the sweeps `own`: (contracts traded, every sweep is sure)."""
    traded, settled = 0, True
    for j in range(len(own)):
        taken, certain = (pick >> j) & 1 == 1, (every >> j) & 1 == 1 or (some >> j) & 1 == 0
        settled &= certain
        traded += sweeps.size[own[j]] if taken else 0
        for i in range(sweeps.first[own[j]], sweeps.end[own[j]]):
            if side[i] == sweeps.side[own[j]] and change[i] < 0:
                kind[i], sure[i] = TRADE if taken else CANCEL, certain
    return traded, settled


@njit(cache=True)
def _label(
    us: I64, side: I8, price: I32, change: I64, sweeps: _Sweeps, at: I64, volume: I64, last_price: I64, last_size: I64
) -> tuple[I8, Bools, I64]:
    """(kind, sure, [intervals, exact, settled, volume, unexplained])."""
    kind, sure = (change < 0).astype(np.int8), np.ones(len(us), np.bool_)
    tally = np.zeros(5, np.int64)
    old, new = np.empty((_SUMS, 5), np.int64), np.empty((_SUMS, 5), np.int64)
    edge = b = 0
    for t in range(len(at) + 1):
        begin, a = edge, b
        while edge < len(us) and (t == len(at) or us[edge] <= at[t]):
            edge += 1
        while b < len(sweeps.first) and sweeps.first[b] < edge:
            b += 1
        own = np.arange(a, b)
        if t == 0 or t == len(at):  # before or after all tickers: nothing is known
            _mark(kind, sure, side, change, sweeps, own, 0, 0, -1)
            continue
        rise = volume[t] - volume[t - 1]
        if rise == 0:
            continue
        if len(own) > _BITS:
            _mark(kind, sure, side, change, sweeps, own, 0, 0, -1)
            own = np.sort(own[np.argsort(-sweeps.score[own], kind="mergesort")[:_BITS]])
        found, pick, every, some = _solve(price, change, sweeps, own, rise, last_price[t], last_size[t], old, new)
        if len(own) < b - a:
            every, some = 0, -1
        if not found:
            sure[begin:edge] = change[begin:edge] >= 0
        traded, settled = _mark(kind, sure, side, change, sweeps, own, pick, every, some)
        tally += np.array([1, found, found and settled, rise // 2, rise // 2 - traded])
    return kind, sure, tally


def infer_trades(
    us: I64,
    side: I8,
    price: I32,
    change: I64,
    start_yes: I64,
    start_no: I64,
    ticker_us: I64,
    ticker_volume: I64,
    ticker_price: I64 | None = None,
    ticker_size: I64 | None = None,
) -> Inferred:
    """Label the deltas of one market without a gap, in the feed's order.

    us, side, price, change: [E] exchange µs; 0 YES bid, 1 NO bid; 1e-4 dollar of its own side; signed 1e-2 contract.
    start_yes, start_no: [PRICES] what rests when it begins, 1e-2 contract, indexed by own price in 1e-4 dollar.
    ticker_us, ticker_volume: [T] exchange µs and volume as sent, 1e-2 contract, so each trade twice. A ticker tells of
    all deltas up to and with its own µs. ticker_price, ticker_size: [T] YES price and size of the last trade, if known.
    Before the first ticker and after the last nothing is labelled a trade.

    DataError: lengths differ, a side or price that is none, a book below zero, a volume that falls.
    """
    # Copies, so that one compilation serves read-only and strided columns too.
    us, change = np.array(us, np.int64), np.array(change, np.int64)
    side, price = np.array(side, np.int8), np.array(price, np.int32)
    at, volume = np.array(ticker_us, np.int64), np.array(ticker_volume, np.int64)
    told = ticker_price is not None and ticker_size is not None
    last_price, last_size = (
        np.array(column if told else np.full(len(at), -1), np.int64) for column in (ticker_price, ticker_size)
    )
    book = np.array([start_yes, start_no], np.int64)
    if not len(us) == len(side) == len(price) == len(change) or book.shape != (2, PRICES):
        raise DataError("the columns of the deltas, or the two books, differ in length")
    if not len(at) == len(volume) == len(last_price) == len(last_size):
        raise DataError("the columns of the tickers differ in length")
    if np.any((side < 0) | (side > 1) | (price < 0) | (price > DOLLAR)) or np.any(book < 0):
        raise DataError("a delta of no side or of no price, or a book that begins below zero")
    if np.any(np.diff(volume) < 0):
        raise DataError("a volume that falls")
    touch, fit, failed = _replay(side, price, change, book)
    if failed >= 0:
        raise DataError(f"delta {failed} removes more than rests")
    sweeps = _sweeps(us, side, price, change, touch, fit)
    kind, sure, tally = _label(us, side, price, change, sweeps, at, volume, last_price, last_size)
    return Inferred(kind, sure, *(int(n) for n in tally))
