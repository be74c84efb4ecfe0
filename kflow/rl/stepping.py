"""One decision of every account of a batch: the action is sent, time passes up to the next one, and it is seen.

Compiled. All accounts of a call trade on one group of a data set: one grid of prices, one fee schedule.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kflow.policy import actions, features
from kflow.rl.compiled import compiled, inlined, prefetch
from kflow.sim import kernel

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]
F32 = NDArray[np.float32]

MARKET: Final = len(features.MARKET)
OWN: Final = len(features.OWN)
OBSERVATION: Final = MARKET + OWN

# Columns of Desk.seat, [N, SEAT]: where an episode runs from and to, and what it has come to.
STRETCH, START_US, FIRST, ROW, LAST, AT, VALUE = range(7)
CASH, FLOOR, EQUITY, PEAK, FALL, STEPS, SENT, DENIED, REASON = range(7, 16)
SEAT: Final = 16
# Columns of Desk.sums, [N, SUMS]: of rewards and their squares, and of each shaping term.
REWARD, SQUARES, INVENTORY, TURNOVER = range(4)
SUMS: Final = 4
SHAPING: Final = ("inventory", "turnover")

# How a decision ends.
GOES_ON, SETTLED, RUINED, CUT = range(4)
ENDINGS: Final = ("", "settled", "ruined", "cut")

_ORDER: Final = 5
# Memory comes in lines of eight numbers. Nearly all that an account reads is far away when its turn comes, so it is
# asked for while others have theirs: docs/performance.md.
_LINE: Final = 8
_AHEAD: Final = 4


class Desk(NamedTuple):
    """What a batch keeps beside the kernel's accounts."""

    seat: I64  # [N, SEAT]
    sums: F64  # [N, SUMS]
    # Room for one account at a time.
    book: I64  # [3] as `actions.refused` reads it
    own: I64  # [7]
    orders: I64  # [5 * K] as `features.encode_own` reads it
    seen: F64  # [OWN]


class Terms(NamedTuple):
    """What is the same for all who trade on a group."""

    columns: F32  # [R, MARKET] of all decisions of all its stretches
    table: actions.Table  # of arrays [A]
    fees: I64  # [4] rate, unit, step, precision
    bounds: I64  # [3] largest order, largest position, most open orders
    every_us: int
    scale: float  # of rewards, per dollar
    weights: F64  # [2] of each shaping term


def new_desk(count: int, orders: int) -> Desk:
    """For `count` accounts with so many orders each."""
    return Desk(
        seat=np.zeros((count, SEAT), np.int64),
        sums=np.zeros((count, SUMS), np.float64),
        book=np.zeros(3, np.int64),
        own=np.zeros(7, np.int64),
        orders=np.zeros(_ORDER * orders, np.int64),
        seen=np.zeros(OWN, np.float64),
    )


@inlined
def _look(state, desk, market, terms, i):
    """What account i has and sees, for `actions` and `features`; the number of its open orders."""
    account, orders = state.account, state.orders
    columns = len(market.price)
    book, own = desk.book, desk.own
    # Where nobody offers, the kernel names the width of the widest grid of the data set.
    book[0], book[1], book[2] = account[i, kernel.BID], min(account[i, kernel.ASK], columns), columns
    own[0] = account[i, kernel.POSITION]
    free = account[i, kernel.CASH] - account[i, kernel.RESERVED]
    own[2] = own[3] = 0
    own[5], own[6] = -1, columns
    count = 0
    for j in range(account[i, kernel.SLOTS]):
        status = orders[i, j, kernel.STATUS]
        if status != kernel.TRAVELS and status != kernel.RESTS:
            continue
        side, c, left = orders[i, j, kernel.SIDE], orders[i, j, kernel.COL], orders[i, j, kernel.LEFT]
        ahead, since = orders[i, j, kernel.AHEAD], orders[i, j, kernel.RESTED]
        if status == kernel.TRAVELS:
            price = np.int64(market.price[c]) if side == 0 else 10_000 - np.int64(market.price[c])
            fees = terms.fees
            free -= price * left + actions.limits.worst_fee(price, left, fees[0], fees[1], fees[2], fees[3])
            ahead, since = np.int64(state.depth[i, side, c]), account[i, kernel.NOW]
        own[2 + side] += left
        if side == 0:
            own[5] = max(own[5], c)
        else:
            own[6] = min(own[6], c)
        at = _ORDER * count
        desk.orders[at], desk.orders[at + 1], desk.orders[at + 2] = side, c, left
        desk.orders[at + 3], desk.orders[at + 4] = ahead, account[i, kernel.NOW] - since
        count += 1
    own[1], own[4] = free, count
    return count


@inlined
def _see(state, desk, market, terms, i, obs):
    """Write the observation of account i."""
    seat, account = desk.seat, state.account
    count = _look(state, desk, market, terms, i)
    row = seat[i, AT] + seat[i, ROW]
    for f in range(MARKET):
        obs[i, f] = terms.columns[row, f]
    features.encode_own(
        account[i, kernel.POSITION],
        seat[i, EQUITY],
        desk.own[1],
        seat[i, CASH],
        account[i, kernel.MAX_POSITION],
        account[i, kernel.MAX_ORDER],
        market.price,
        account[i, kernel.BID],
        account[i, kernel.ASK],
        desk.orders,
        count,
        desk.seen,
        0,
    )
    for f in range(OWN):
        obs[i, MARKET + f] = desk.seen[f]


@inlined
def _refused(desk, market, terms, a):
    """0, or why action a is denied to the account that was just looked at."""
    table = terms.table
    return actions.refused(
        table.op[a],
        table.side[a],
        table.pricing[a],
        table.size[a],
        table.reduce_only[a],
        desk.book,
        desk.own,
        market.price,
        terms.fees,
        terms.bounds,
    )


@inlined
def _send(state, desk, market, rules, terms, i, a):
    """Carry out an action, or count why it is denied."""
    seat, table = desk.seat, terms.table
    op = table.op[a]
    seat[i, REASON] = 0
    if op == actions.HOLD:
        return
    _look(state, desk, market, terms, i)
    reason = _refused(desk, market, terms, a)
    seat[i, REASON] = reason
    if reason:
        seat[i, DENIED] += 1
        return
    seat[i, SENT] += 1
    if op == actions.CANCEL_ALL:
        for j in range(state.account[i, kernel.SLOTS]):
            kernel.cancel(state, rules, i, j)
        return
    side, rest_us = table.side[a], table.rest_us[a]
    c = actions.price_column(side, table.pricing[a], desk.book[0], desk.book[1], desk.book[2])
    size = actions.size_now(side, table.size[a], table.reduce_only[a], desk.own)
    flags = 0
    if rest_us == 0:
        flags = kernel.IOC | kernel.REDUCE_ONLY if table.reduce_only[a] else kernel.IOC
    kernel.place(state, market, rules, i, side, c, size, flags, rest_us)


@inlined
def _value(state, desk, market, rules, i):
    """What account i is worth now; its peak, and how far it has been below."""
    seat = desk.seat
    equity = state.account[i, kernel.CASH]
    if state.account[i, kernel.POSITION] != 0:
        equity += kernel.liquidation(state, market, rules, i)
    seat[i, EQUITY] = equity
    seat[i, PEAK] = max(seat[i, PEAK], equity)
    seat[i, FALL] = max(seat[i, FALL], seat[i, PEAK] - equity)
    return equity


@inlined
def _reward(state, desk, terms, i, before, volume):
    """Change of equity, and the shaping terms, each summed by itself."""
    seat, sums, account = desk.seat, desk.sums, state.account
    gained = (seat[i, EQUITY] - before) / 1e6 * terms.scale
    held = terms.weights[0] * abs(account[i, kernel.POSITION]) / account[i, kernel.MAX_POSITION]
    traded = terms.weights[1] * (account[i, kernel.VOLUME] - volume) / account[i, kernel.MAX_ORDER]
    sums[i, REWARD] += gained
    sums[i, SQUARES] += gained * gained
    sums[i, INVENTORY] -= held
    sums[i, TURNOVER] -= traded
    return gained - held - traded


@inlined
def _fetch(array, first, count, line):
    """Ask for `count` elements, `line` of them to a line: rows begin anywhere in one, so for the last as well."""
    for at in range(first, first + count - 1, line):
        prefetch(array, at)
    prefetch(array, first + count - 1)


@inlined
def _fetch_account(state, desk, i):
    """Ask for what says where account i is."""
    _fetch(state.account, i * kernel.ACCOUNT, kernel.ACCOUNT, _LINE)
    _fetch(desk.seat, i * SEAT, SEAT, _LINE)
    prefetch(desk.sums, i * SUMS)


@inlined
def _fetch_market(state, desk, market, terms, i):
    """Ask for what account i is about to read, now that it is known where it is."""
    account = state.account
    cursor = account[i, kernel.CURSOR]
    prefetch(market.us, cursor)
    prefetch(market.us, cursor + _LINE)
    prefetch(market.code, cursor)
    prefetch(market.col, cursor)
    prefetch(market.size, cursor)
    prefetch(market.size, cursor + 2 * _LINE)
    _fetch(terms.columns, (desk.seat[i, AT] + desk.seat[i, ROW] + 1) * MARKET, MARKET, 2 * _LINE)
    columns = state.depth.shape[2]
    bid, ask = max(account[i, kernel.BID], 0), min(account[i, kernel.ASK], columns - 1)
    at = 2 * i * columns
    # Levels behind the touch lie beside it, most often in the line before it or behind it.
    prefetch(state.depth, at + bid)
    prefetch(state.depth, at + max(bid - _LINE, 0))
    prefetch(state.depth, at + columns + ask)
    prefetch(state.depth, at + columns + min(ask + _LINE, columns - 1))
    prefetch(state.taken, at + bid)
    prefetch(state.taken, at + columns + ask)
    prefetch(state.taken_at, at + bid)
    prefetch(state.taken_at, at + columns + ask)
    _fetch(state.orders, i * state.orders.shape[1] * kernel.ORDER, account[i, kernel.SLOTS] * kernel.ORDER, _LINE)


@compiled
def advance(state, desk, market, rules, terms, who, chosen, obs, rewards, ended):
    """Let the accounts `who` [M] take the actions chosen[who] and see what comes of it, at rows `who` of the rest."""
    seat, account = desk.seat, state.account
    for n in range(min(2 * _AHEAD, len(who))):
        _fetch_account(state, desk, who[n])
    for n in range(len(who)):
        if n + 2 * _AHEAD < len(who):
            _fetch_account(state, desk, who[n + 2 * _AHEAD])
        if n + _AHEAD < len(who):
            _fetch_market(state, desk, market, terms, who[n + _AHEAD])
        i = who[n]
        before, volume = seat[i, EQUITY], account[i, kernel.VOLUME]
        _send(state, desk, market, rules, terms, i, chosen[i])
        row = seat[i, ROW] + 1
        kernel.run(state, market, rules, i, seat[i, START_US] + row * terms.every_us)
        seat[i, ROW] = row
        seat[i, STEPS] += 1
        ending = GOES_ON
        if row >= seat[i, LAST]:
            if seat[i, VALUE] >= 0:
                kernel.settle(state, i, seat[i, VALUE])
                ending = SETTLED
            else:
                # The last word: what nobody bids for now is worth nothing, whatever was bid before. Until then a side
                # that is empty for a moment is no loss; but who rested there would be paid what nobody pays.
                account[i, kernel.LAST_BID] = account[i, kernel.LAST_ASK] = -1
                ending = CUT
        equity = _value(state, desk, market, rules, i)
        if equity <= seat[i, FLOOR] and ending != SETTLED:
            ending = RUINED
        rewards[i] = _reward(state, desk, terms, i, before, volume)
        ended[i] = ending
        _see(state, desk, market, terms, i, obs)


@compiled
def begin(state, desk, market, terms, i, episode, cash, floor, obs):
    """Seat account i anew: nothing but cash, at a decision of a stretch.

    episode: [6] stretch, its first moment in µs, first and last decision, where its rows begin in `terms.columns`,
    and what a YES contract is paid at the end (1e-4 dollar; -1: not known).
    """
    account, orders, seat = state.account, state.orders, desk.seat
    for field in range(kernel.ACCOUNT):
        account[i, field] = 0
    account[i, kernel.CASH] = cash
    account[i, kernel.MAX_ORDER], account[i, kernel.MAX_POSITION] = terms.bounds[0], terms.bounds[1]
    account[i, kernel.DUE] = kernel.NEVER
    for j in range(orders.shape[1]):
        for field in range(kernel.ORDER):
            orders[i, j, field] = 0
        state.chance[i, j, 0] = state.chance[i, j, 1] = 0.0
    for side in range(2):
        for c in range(state.taken.shape[2]):
            state.taken[i, side, c] = 0
    for column in range(SEAT):
        seat[i, column] = 0
    for column in range(SUMS):
        desk.sums[i, column] = 0.0
    first = episode[2]
    seat[i, STRETCH], seat[i, START_US], seat[i, FIRST], seat[i, ROW] = episode[0], episode[1], first, first
    seat[i, LAST], seat[i, AT], seat[i, VALUE] = episode[3], episode[4], episode[5]
    seat[i, CASH] = seat[i, EQUITY] = seat[i, PEAK] = cash
    seat[i, FLOOR] = floor
    kernel.seat(state, market, i, episode[0], episode[1] + first * terms.every_us)
    _see(state, desk, market, terms, i, obs)


@compiled
def masks(state, desk, market, terms, who, out):
    """Fill rows `who` of `out` [N, A]: which actions are allowed."""
    for n in range(len(who)):
        i = who[n]
        _look(state, desk, market, terms, i)
        for a in range(out.shape[1]):
            out[i, a] = _refused(desk, market, terms, a) == 0
