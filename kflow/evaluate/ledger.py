"""From the kernel's log to orders and fills, with what the market was when each was sent, filled and over."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from kflow.evaluate.held import Held
from kflow.evaluate.outcome import MARKOUTS, Episodes, Fills, Orders
from kflow.sim import kernel
from kflow.units import DOLLAR

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

_MOST: Final = 2**40  # orders of an episode


def read(log: I64, of: I64, held: Held, episodes: Episodes) -> tuple[Orders, Fills]:
    """`log`: rows of `kernel.State.log`, in order within an episode; `of`: the episode of each."""
    by_episode = np.argsort(of, kind="stable")
    log, of = log[by_episode], of[by_episode]
    kinds = log[:, kernel.KIND]
    keys = of * _MOST + log[:, kernel.OF]
    sent = np.flatnonzero(kinds == kernel.SENT)
    sent = sent[np.argsort(keys[sent], kind="stable")]
    rows = np.searchsorted(keys[sent], keys)  # of each row of the log its order
    took, made = kinds == kernel.TOOK, kinds == kernel.MADE
    filled = np.flatnonzero(took | made)
    fills = _fills(log[filled], rows[filled], of[filled], made[filled], held)
    return _orders(log, kinds, rows, sent, of, fills, held, episodes), fills


def _orders(
    log: I64, kinds: I64, rows: I64, sent: I64, of: I64, fills: Fills, held: Held, episodes: Episodes
) -> Orders:
    count = len(sent)
    first, episode = log[sent], of[sent]
    side, at = first[:, kernel.L_SIDE], first[:, kernel.AT]
    ended = kinds == kernel.ENDED
    # Who is still open when the recording ends gets nothing any more.
    over, reason = episodes.end_us[episode], np.full(count, kernel.GONE, np.int64)
    over[rows[ended]], reason[rows[ended]] = log[ended, kernel.AT], log[ended, kernel.L_SIZE]
    rests = kinds == kernel.ARRIVED
    ahead = np.full(count, -1, np.int64)
    ahead[rows[rests]] = log[rests, kernel.L_AHEAD]
    first_us = np.full(count, -1, np.int64)
    backwards = np.arange(len(fills.order))[::-1]
    first_us[fills.order[backwards]] = fills.us[backwards]
    touch, mid = held.timeline.at(_spans(held, episode), at), _mids(held, episode, at, side)
    yes = _prices(held, episode, first[:, kernel.L_COL])
    return Orders(
        episode=episode,
        sent_us=at,
        side=side,
        size=first[:, kernel.L_SIZE],
        price=_own(yes, side),
        near=_own(np.where(side == 0, touch.bid, touch.ask), side),
        far=_own(np.where(side == 0, touch.ask, touch.bid), side),
        mid=mid,
        ahead=ahead,
        filled=_sum(fills.order, fills.size, count),
        cost=_sum(fills.order, fills.size * fills.price, count),
        fees=_sum(fills.order, fills.fee, count),
        first_us=first_us,
        ended_us=over,
        ended_mid=_mids(held, episode, over, side),
        reason=reason,
    )


def _fills(log: I64, order: I64, episode: I64, maker: NDArray[np.bool_], held: Held) -> Fills:
    side, us = log[:, kernel.L_SIDE], log[:, kernel.AT]
    price = _own(_prices(held, episode, log[:, kernel.L_COL]), side)
    marks = [_mids(held, episode, us + seconds * 1_000_000, side) for seconds in MARKOUTS]
    later = (np.stack(marks, axis=1) - price[:, None]) / 100
    tape_of = np.array([held.where[played.span][0] for played in held.episodes], np.int64)
    value = np.array([market.value for market in held.markets], np.int64)[tape_of][episode]
    paid = np.where(side == 0, value, DOLLAR - value)
    return Fills(
        order=order,
        episode=episode,
        us=us,
        side=side,
        price=price,
        size=log[:, kernel.L_SIZE],
        fee=log[:, kernel.L_FEE],
        maker=maker,
        mid=_mids(held, episode, us, side),
        markout=later,
        settled=np.where(value >= 0, (paid - price) / 100, np.nan),
    )


def _sum(places: I64, values: I64, count: int) -> I64:
    total = np.zeros(count, np.int64)
    np.add.at(total, places, values)
    return total


def _own(yes: I64, side: I64) -> I64:
    """Prices of the side that is bought; -1 stays."""
    return np.where((side == 0) | (yes < 0), yes, DOLLAR - yes)


def _spans(held: Held, episode: I64) -> I64:
    """The span that each row's episode lies on."""
    return np.array([played.span for played in held.episodes], np.int64)[episode]


def _prices(held: Held, episode: I64, column: I64) -> I64:
    """YES prices of columns; -1 where there is none."""
    groups = np.array([span.group for span in held.dataset.spans], np.int64)[_spans(held, episode)]
    found = np.full(len(column), -1, np.int64)
    for number, group in enumerate(held.dataset.groups):
        rows = np.flatnonzero(groups == number)
        price, at = group.market.price, column[rows]
        known = (at >= 0) & (at < len(price))
        found[rows] = np.where(known, price[np.clip(at, 0, len(price) - 1)], -1)
    return found


def _mids(held: Held, episode: I64, us: I64, side: I64) -> F64:
    """The own side's, 1e-4 dollar; NaN where a side does not quote, or nothing is recorded."""
    twice = held.timeline.at(_spans(held, episode), us).twice_mid
    own: F64 = np.where(side == 0, twice, 2 * DOLLAR - twice) / 2
    return own
