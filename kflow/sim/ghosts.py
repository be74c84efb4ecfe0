"""Orders of others whose fate a level-2 recording shows: what they tell of where in a queue cancellations fall.

A ghost is an order that was added at or next to the touch with a size no other order of its level has in its stretch.
When a removal of just that size follows, it was traded whole (so everything ahead of it was gone) or withdrawn. Between
the two, trades T and cancellations C of its level are known, and so is what was ahead at first, Q. Had it been traded,
exactly X = Q - T of C were ahead of it; had it been withdrawn, or its stretch ended, not more than that up to the last
trade, which did not reach it (the interval in which its fate is censored). Own orders with samples of `queue_position` tell X exactly between any two samples.

Left out: an order that is first filled in part shows another size afterwards, and is not found again.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kflow.sim.kernel import _ahead_of
from kflow.sim.tape import ADD, CANCEL, TRADE, Tape

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

TRADED, WITHDRAWN, LOST = 1, 2, 3
# How far from the touch, in columns, an order may be added and be watched.
NEAR: Final = 1
# Cancellations and trades of a ghost's level that are kept; one that lives through more is given up there.
_MOST: Final = 4096


class Ghosts(NamedTuple):
    """Watched orders, a row each, and what happened at their levels. Sizes 1e-2 contract."""

    stretch: I64
    side: I64
    col: I64
    size: I64
    front: I64  # Q: shown at its level when it was added
    added_us: I64
    ended_us: I64
    fate: I64  # TRADED, WITHDRAWN, LOST
    first: I64  # of its rows below
    behind: I64
    # Rows: a removal of its level each, in order.
    removed: I64
    is_trade: NDArray[np.bool_]
    level: I64  # of the level before it

    @property
    def count(self) -> int:
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
        parts.append((np.full(len(found[0]), stretch, np.int64), *found))
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
    whole = [*columns[:8], columns[8] + shift, columns[9] + shift, columns[10], columns[11].astype(bool), columns[12]]
    return Ghosts(*whole)


@njit(cache=True)
def _watch(us, code, col, size, top, first, behind, unique, start):
    """Follow every unique add near the touch until a removal of its size, or for at most _MOST removals."""
    columns = start.shape[1]
    book = start.astype(np.int64)
    count = 0
    for event in range(first, behind):
        count += unique[event - first]
    facts = np.zeros((count, 9), np.int64)
    open_at = np.full((2, columns), -1, np.int64)  # newest open ghost of a level; each names the one before
    before = np.full(count, -1, np.int64)
    kept = np.zeros(count, np.int64)
    ghosts = 0
    # Two passes would need no guess; a list grows as it must.
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
    # Rows by ghost, each ghost's in order.
    place = np.zeros(ghosts + 1, np.int64)
    for g in range(ghosts):
        place[g + 1] = place[g] + kept[g]
    at = place[:ghosts].copy()
    out = np.zeros((used, 3), np.int64)
    for row in range(used):
        out[at[owner[row]]] = rows[row]
        at[owner[row]] += 1
    found = facts[:ghosts]
    return (
        found[:, 0].copy(),
        found[:, 1].copy(),
        found[:, 2].copy(),
        found[:, 3].copy(),
        found[:, 4].copy(),
        found[:, 5].copy(),
        found[:, 6].copy(),
        place[:ghosts].copy(),
        place[1:].copy(),
        out[:, 0].copy(),
        out[:, 1].copy(),
        out[:, 2].copy(),
    )


def informative(ghosts: Ghosts) -> I64:
    """Ghosts that can tell anything: something lay ahead, something was withdrawn, and trades fit before their end.

    Where more was traded than lay ahead, or a traded one needs more withdrawn than was, the size was another order's.
    """
    gone = _between(ghosts, np.where(ghosts.is_trade, 0, ghosts.removed))
    most = ghosts.front - _between(ghosts, np.where(ghosts.is_trade, ghosts.removed, 0))
    fits = (most >= 0) & ((ghosts.fate != TRADED) | (most <= gone))
    return np.flatnonzero((ghosts.front > 0) & (gone > 0) & fits)


def _between(ghosts: Ghosts, amounts: I64) -> I64:
    """Sum of a row's amount over each ghost's rows."""
    total = np.concatenate([[0], np.cumsum(amounts)])
    return np.asarray(total[ghosts.behind] - total[ghosts.first])


def losses(ghosts: Ghosts, which: I64, omega: float, power: float) -> F64:
    """How wrong the model is about each ghost: squared, in shares of what was ahead of it, [len(which)].

    Of one that was traded, how far the cancellations that the model puts ahead of it are from X; of another, how far
    they are above X's upper end. A likelihood of whole orders drawn at random would be sharper, and was tried: it is
    decided by how improbable the few are that no random draw explains.
    """
    return np.asarray(
        _losses(
            ghosts.front,
            ghosts.size,
            ghosts.fate,
            ghosts.first,
            ghosts.behind,
            ghosts.removed,
            ghosts.is_trade,
            ghosts.level,
            which,
            float(omega),
            float(power),
        )
    )


# Not cached: it calls the kernel's, whose change numba's cache would not see.
@njit
def _losses(front, own, fate, first, behind, removed, is_trade, level, which, omega, power):
    found = np.zeros(len(which))
    for place in range(len(which)):
        g = which[place]
        ahead, traded = front[g], np.int64(0)
        put = shown = np.int64(0)  # what the model put ahead: so far, and when the last trade came
        for row in range(first[g], behind[g]):
            size = removed[row]
            if is_trade[row]:
                traded += size
                ahead = max(ahead - size, 0)
                shown = put
                continue
            others = max(level[row] - ahead - own[g], 0)
            part = _ahead_of(size, ahead, others, omega, power)
            put += part
            ahead -= part
        wrong = np.float64(front[g] - traded - put)
        if fate[g] != TRADED:
            wrong = np.float64(min(front[g] - traded - shown, 0)) if traded else 0.0
        found[place] = (wrong / front[g]) ** 2
    return found
