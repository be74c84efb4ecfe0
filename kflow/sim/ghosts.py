"""Orders of others whose fate a level-2 recording shows: what they tell of where in a queue cancellations fall.

A ghost is an order that was added at or next to the touch with a size no other order of its level has in its stretch.
When a removal of just that size follows, it was traded whole (so everything ahead of it was gone) or withdrawn. Between
the two, trades T and cancellations C of its level are known, and so is what was ahead at first, Q. Had it been traded,
exactly X = Q - T of C were ahead of it; had it been withdrawn, or its stretch ended, not more than that up to the last
trade, which did not reach it (the interval in which its fate is censored). Own orders with samples of `queue_position`
tell X exactly between any two samples: it is by how much the position fell, less T.

Left out: an order that is first filled in part shows another size afterwards, and is not found again.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kflow.sim.kernel import _ahead_of
from kflow.sim.tape import ADD, CANCEL, TRADE, Tape
from kflow.units import DOLLAR

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

TRADED, WITHDRAWN, LOST, SAMPLED = 1, 2, 3, 4
# How far from the touch, in columns, an order may be added and be watched.
NEAR: Final = 1
# Cancellations and trades of a ghost's level that are kept; one that lives through more is given up there.
_MOST: Final = 4096
_NO_CURVE: Final = np.zeros(0)


class Ghosts(NamedTuple):
    """Watched orders, a row each, and what happened at their levels. Sizes 1e-2 contract."""

    stretch: I64
    side: I64
    col: I64
    size: I64
    front: I64  # Q: shown at its level when it was added
    added_us: I64
    ended_us: I64
    fate: I64  # TRADED, WITHDRAWN, LOST, SAMPLED
    rest: I64  # still ahead at the end, where that is known: of samples; else 0
    first: I64  # of its rows below
    behind: I64
    # Rows: a removal of its level each, in order.
    removed: I64
    is_trade: NDArray[np.bool_]
    level: I64  # of the level before it

    @property
    def total(self) -> int:
        return len(self.side)


def find_ghosts(tape: Tape) -> Ghosts:
    """All ghosts of a tape."""
    arrays = tape.arrays
    parts = []
    for stretch, (first, behind) in enumerate(arrays.bounds.tolist()):
        unique = _unique_adds(arrays.code[first:behind], arrays.col[first:behind], arrays.size[first:behind])
        key = int(np.searchsorted(arrays.keys, first))
        found = _watch(
            arrays.us, arrays.code, arrays.col, arrays.size, arrays.top, first, behind, unique, arrays.books[key]
        )
        facts, kept, owner, rows = found
        begins, ends, removals = _by_ghost(kept, owner, rows)
        parts.append((np.full(len(facts), stretch, np.int64), *facts.T, begins, ends, *removals.T))
    return _joined(parts)


def _unique_adds(code: NDArray[np.uint8], col: NDArray[np.int16], size: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Adds whose side, column and size no other add of the stretch has."""
    adds = (code & 3) == ADD
    name = (code.astype(np.int64) >> 2 & 1) << 48 | col.astype(np.int64) << 32 | size
    _, inverse, counts = np.unique(name[adds], return_inverse=True, return_counts=True)
    unique = np.zeros(len(code), np.bool_)
    unique[adds] = counts[inverse] == 1
    return unique


def _joined(parts: list[tuple[I64, ...]]) -> Ghosts:
    rows = np.cumsum([0, *[len(part[-1]) for part in parts]])
    columns = [np.concatenate([part[place] for part in parts]) for place in range(len(parts[0]))]
    counts = [len(part[0]) for part in parts]
    shift = np.repeat(rows[:-1], counts)
    facts, rest, places = columns[:8], np.zeros(sum(counts), np.int64), (columns[8] + shift, columns[9] + shift)
    removals = columns[10], columns[11].astype(bool), columns[12]
    return Ghosts(*facts, rest, *places, *removals)  # type: ignore[call-arg]


@njit(cache=True)
def _watch(us, code, col, size, top, first, behind, unique, start):
    """Follow every unique add near the touch until a removal of its size, or for at most _MOST removals."""
    columns = start.shape[1]
    book = start.astype(np.int64)
    count = 0
    for event in range(first, behind):
        count += unique[event - first]
    facts = np.zeros((count, 7), np.int64)  # side, column, size, front, added, ended, fate
    open_at = np.full((2, columns), -1, np.int64)  # newest open ghost of a level; each names the one before
    before = np.full(count, -1, np.int64)
    kept = np.zeros(count, np.int64)
    ghosts = 0
    owner = np.zeros(1024, np.int64)
    rows = np.zeros((1024, 3), np.int64)
    used = 0
    for event in range(first, behind):
        kind, s, c, q = code[event] & 3, np.int64(code[event] >> 2 & 1), np.int64(col[event]), np.int64(size[event])
        if kind == ADD:
            best = top[event, s]
            near = best - c if s == 0 else c - best
            if unique[event - first] and near <= NEAR:
                facts[ghosts, 0], facts[ghosts, 1], facts[ghosts, 2] = s, c, q
                facts[ghosts, 3], facts[ghosts, 4] = book[s, c], us[event]
                before[ghosts] = open_at[s, c]
                open_at[s, c] = ghosts
                ghosts += 1
            book[s, c] += q
            continue
        if kind != CANCEL and kind != TRADE:
            continue
        g, newer = open_at[s, c], np.int64(-1)
        while g >= 0:
            older = before[g]
            ended = q == facts[g, 2] or kept[g] >= _MOST
            if ended:
                facts[g, 5] = us[event]
                facts[g, 6] = LOST if q != facts[g, 2] else TRADED if kind == TRADE else WITHDRAWN
                if newer < 0:
                    open_at[s, c] = older
                else:
                    before[newer] = older
            else:
                if used == len(rows):
                    rows = np.concatenate((rows, np.zeros_like(rows)))
                    owner = np.concatenate((owner, np.zeros_like(owner)))
                owner[used] = g
                rows[used, 0], rows[used, 1], rows[used, 2] = q, np.int64(kind == TRADE), book[s, c]
                used += 1
                kept[g] += 1
                newer = g
            g = older
        book[s, c] -= q
    for g in range(ghosts):
        if facts[g, 6] == 0:
            facts[g, 5], facts[g, 6] = us[behind - 1], LOST
    return facts[:ghosts], kept[:ghosts], owner[:used], rows[:used]


@njit(cache=True)
def _by_ghost(kept, owner, rows):
    """Rows put together by ghost, each ghost's in order; where each ghost's begin and end."""
    place = np.zeros(len(kept) + 1, np.int64)
    for g in range(len(kept)):
        place[g + 1] = place[g] + kept[g]
    at = place[:-1].copy()
    out = np.zeros((len(rows), 3), np.int64)
    for row in range(len(rows)):
        out[at[owner[row]]] = rows[row]
        at[owner[row]] += 1
    return place[:-1].copy(), place[1:].copy(), out


def informative(ghosts: Ghosts) -> I64:
    """Ghosts that can tell anything: something lay ahead, something was withdrawn, and trades fit before their end.

    Where more was traded than lay ahead, or a traded one needs more withdrawn than was, the size was another order's.
    """
    gone = _between(ghosts, np.where(ghosts.is_trade, 0, ghosts.removed))
    most = ghosts.front - ghosts.rest - _between(ghosts, np.where(ghosts.is_trade, ghosts.removed, 0))
    fits = (most >= 0) & (~exact(ghosts) | (most <= gone))
    return np.flatnonzero((ghosts.front > 0) & (gone > 0) & fits)


def _between(ghosts: Ghosts, amounts: I64) -> I64:
    """Sum of a row's amount over each ghost's rows."""
    total = np.concatenate([[0], np.cumsum(amounts)])
    return np.asarray(total[ghosts.behind] - total[ghosts.first])


def exact(ghosts: Ghosts) -> NDArray[np.bool_]:
    """Those of which X is known, and not only an end of where it lies."""
    return np.asarray((ghosts.fate == TRADED) | (ghosts.fate == SAMPLED))


def errors(ghosts: Ghosts, which: I64, ahead: float, power: float) -> F64:
    """How much less the model puts ahead of each exact ghost than was, in shares of its front [len(which)].

    Signed: single orders are withdrawn whole, ahead or behind, and a model of their mean is off at every one of them.
    """
    return np.asarray(
        _errors(
            ghosts.front,
            ghosts.size,
            ghosts.rest,
            ghosts.first,
            ghosts.behind,
            ghosts.removed,
            ghosts.is_trade,
            ghosts.level,
            which,
            float(ahead),
            float(power),
            _NO_CURVE,
        )
    )


# Not cached: it calls the kernel's, whose change numba's cache would not see.
@njit
def _errors(front, own, rest, first, behind, removed, is_trade, level, which, omega, power, curve):
    found = np.zeros(len(which))
    for place in range(len(which)):
        g = which[place]
        ahead, traded, put = front[g], np.int64(0), np.int64(0)
        for row in range(first[g], behind[g]):
            size = removed[row]
            if is_trade[row]:
                traded += size
                ahead = max(ahead - size, 0)
            else:
                others = max(level[row] - ahead - own[g], 0)
                part = _ahead_of(size, ahead, others, omega, power, curve)
                put += part
                ahead -= part
        found[place] = np.float64(front[g] - rest[g] - traded - put) / front[g]
    return found


class Sample(NamedTuple):
    """An own order at a moment: what the venue said lies ahead of it. Sizes 1e-2 contract; `price` of its own side."""

    order: str
    us: int
    side: int
    price: int
    remaining: int
    ahead: int


def ghosts_of_samples(tape: Tape, samples: Sequence[Sample]) -> Ghosts:
    """What happened between any two samples of one order that lie in one stretch and at one price."""
    facts: list[tuple[int, ...]] = []
    rows: list[NDArray[Any]] = []
    ordered = sorted(samples, key=lambda sample: (sample.order, sample.us))
    for one, next_ in itertools.pairwise(ordered):
        if one.order != next_.order or one.price != next_.price:
            continue
        stretch = _stretch_of(tape, one.us, next_.us)
        column = int(np.searchsorted(tape.arrays.price, DOLLAR - one.price if one.side else one.price))
        if stretch < 0 or column >= tape.columns:
            continue
        found = _removals(tape, stretch, one.side, column, one.us, next_.us)
        done = sum(map(len, rows))
        ends = (one.us, next_.us, SAMPLED, next_.ahead, done, done + len(found))
        facts.append((stretch, one.side, column, one.remaining, one.ahead, *ends))
        rows.append(found)
    columns = np.array(facts, np.int64).reshape(-1, 11).T
    whole = np.concatenate(rows) if rows else np.zeros((0, 3), np.int64)
    return Ghosts(*columns, whole[:, 0], whole[:, 1].astype(bool), whole[:, 2])  # type: ignore[call-arg]


def _stretch_of(tape: Tape, first_us: int, last_us: int) -> int:
    for stretch in range(tape.stretches):
        begins, ends = tape.span_us(stretch)
        if begins <= first_us and last_us <= ends:
            return stretch
    return -1


def _removals(tape: Tape, stretch: int, side: int, column: int, first_us: int, last_us: int) -> I64:
    """[n, 3] removals of a level after a moment up to another: size, whether traded, the level before."""
    arrays = tape.arrays
    begins, ends = arrays.bounds[stretch]
    key = int(np.searchsorted(arrays.keys, begins + np.searchsorted(arrays.us[begins:ends], first_us), "right")) - 1
    last = int(begins + np.searchsorted(arrays.us[begins:ends], last_us, "right"))
    events = np.arange(arrays.keys[key], last)
    code = arrays.code[events]
    events = events[((code >> 2 & 1) == side) & (arrays.col[events] == column) & ((code & 3) <= TRADE)]
    kind, size = arrays.code[events] & 3, arrays.size[events].astype(np.int64)
    change = np.where(kind == ADD, size, -size)
    level = int(arrays.books[key, side, column]) + np.cumsum(change) - change
    wanted = (kind != ADD) & (arrays.us[events] > first_us)
    return np.stack([size[wanted], (kind == TRADE)[wanted], level[wanted]], axis=1).astype(np.int64)
