"""The one code that fills orders: N independent accounts, each with its own place on a tape. Rules: docs/simulation.md.

Everything is integers: prices 1e-4 dollar, sizes 1e-2 contract, money 1e-6 dollar, times µs of the venue; floats only
where a chance is worked out. An account never sees another, so a batch of one gives the bytes of a batch of many. Each
draws from a counter of its own. One file, since numba's cache misses changes in imported ones.

Two ways forward, one set of rules: `run` takes every event of a tape, `step` one row of a decision grid.

Prices are columns of the YES axis. Side 0 buys YES, side 1 buys NO (sells YES); a better price for side 0 is a higher
column, for side 1 a lower one.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

I64 = NDArray[np.int64]
I32 = NDArray[np.int32]
F64 = NDArray[np.float64]

# No function here makes an array, so none has to count who holds one: numba would do it wherever an array is taken out
# of its tuple, which was nine tenths of the time of a decision. What is small is put into its callers.
_OPTIONS: Final[dict[str, Any]] = {"cache": True, "_nrt": False}
_compiled: Any = njit(**_OPTIONS)
_small: Any = njit(forceinline=True, **_OPTIONS)


def _names(first: int, behind: int) -> tuple[int, ...]:
    """Numbers to call functions with, as NumPy's: of Python's, numba compiles a function anew for each value."""
    return tuple(np.arange(first, behind))


# Events, as in `tape`.
ADD, CANCEL, TRADE, PRINT = 0, 1, 2, 3

# Columns of State.account, [N, ACCOUNT].
CURSOR, END, NOW, CASH, POSITION, FEES, RESERVED, RESTING, DUE, BID, ASK, TAKEN, LOGGED = range(13)
MAX_POSITION, MAX_ORDER, LAST_TRADE, PLACED, VOLUME, LIVED, LAST_BID, LAST_ASK, SLOTS = range(13, 22)
ACCOUNT: Final = 22

# Columns of State.orders, [N, K, ORDER].
ID, STATUS, SIDE, COL, SIZE, LEFT, AHEAD, ARRIVES, CANCELS, AMENDS, AMEND_COL, AMEND_SIZE, EXPIRES, FLAGS = range(14)
OPEN, RESERVE, NOTIONAL, FEE, CARRIED, FIRST, LAST, SENT_AT, RESTED, REASON = range(14, 24)
ORDER: Final = 24

# States of an order.
FREE, TRAVELS, RESTS, DONE = 0, 1, 2, 3
# Flags of an order.
IOC, POST_ONLY, REDUCE_ONLY = 1, 2, 4
# Why an order ended.
FILLED, CANCELLED, EXPIRED, NO_CASH, SELF_TRADE, WOULD_CROSS = _names(1, 7)
OVER_SIZE, OVER_POSITION, NO_REST, NO_PLACE, SETTLED, GONE = _names(7, 13)

# Columns of State.log, [N, F, LOG]; kinds of its rows.
KIND, AT, OF, L_SIDE, L_COL, L_SIZE, L_AHEAD, L_LEFT, L_FEE = range(9)
LOG: Final = 9
SENT, ARRIVED, TOOK, MADE, ENDED, AMENDED, QUEUE_TRADED, QUEUE_CANCELLED = _names(1, 9)

# Columns of instructions, [M, INSTRUCTION]; what they do, and where an order's price comes from.
I_AT, I_OP, I_OF, I_SIDE, I_RULE, I_COL, I_SIZE, I_FLAGS, I_TTL = range(9)
INSTRUCTION: Final = 9
PLACE, CANCEL_ORDER, AMEND_ORDER, CANCEL_ALL = 0, 1, 2, 3
AT_COLUMN, JOIN, CROSS, IMPROVE, SWEEP = 0, 1, 2, 3, 4

# Fill models.
QUEUE, TOUCH, HAZARD = 0, 1, 2

DOLLAR: Final = 10_000
(_NOTHING,) = _names(0, 1)
NEVER: Final = 2**62
# Of the seed's model: what its chances are capped to, and how long its time bonus grows.
_LEAST, _MOST, _RAMP_US = 0.01, 0.99, 30_000_000
# Activity is trades over the last minute (exponentially weighted) against one a second.
_ACTIVITY_US, _BUSY, _LOOK_BACK_US = 60_000_000.0, 60.0, 180_000_000
# Into which a step of a grid is cut.
_PARTS = 4


class Market(NamedTuple):
    """What is read. `run` reads the first block (`tape.TapeArrays`), `step` the second (`tape.GridTape`)."""

    us: I64  # [E]
    code: NDArray[np.uint8]  # [E]
    col: NDArray[np.int16]  # [E]
    size: I32  # [E]
    price: I32  # [C]
    bounds: I64  # [S, 2]
    keys: I64  # [K]
    books: I32  # [K, 2, C]
    rows: I32  # [T, 2, C, 3]
    top: NDArray[np.int16]  # [T, 2]
    far: NDArray[np.int16]  # [T, 2] column of each side's worst price traded since the row before; -1 where none was
    start_us: int
    step_us: int


class State(NamedTuple):
    """All that changes."""

    account: I64  # [N, ACCOUNT]
    orders: I64  # [N, K, ORDER]
    queue: I64  # [N, K] slots of resting orders, earliest first; the first RESTING of them count
    chance: F64  # [N, K, 2] hazard an order has lived through, and the hazard at which it fills
    activity: F64  # [N]
    depth: I32  # [N, 2, C] book of accounts that `run`
    taken: I32  # [N, 2, C] what the account took of a level and has not come back
    taken_at: I64  # [N, 2, C]
    random: NDArray[np.uint64]  # [N] counters
    before: I64  # [N, K] what was ahead of orders, while an event is told of
    log: I64  # [N, F, LOG]


class Rules(NamedTuple):
    """How orders are filled and charged. Rates of fees are numerators over `fee_unit`."""

    model: int
    ahead: float  # omega: share of cancellations ahead of us where as much is ahead as behind
    power: float  # n: how strongly that follows the sizes
    curve: F64  # instead of both, where it has any: that share by how much of the rest lies ahead, from none to all
    walk_from: int  # smaller orders are filled at the touch only
    back_us: int  # after this what we took has come back
    horizon_us: int  # over which the hazard model's chances are meant
    taker_rate: int
    maker_rate: int
    fee_unit: int
    fee_step: int
    precision: int
    verbose: bool  # log what happens to queues as well
    place: I64  # samples of how long an order, a cancellation, a look at the market travel, µs
    cancel: I64
    data: I64


@_small
def _uniform(state, i):
    """The account's next number in (0, 1): splitmix64 (Steele, Lea and Flood 2014) of its counter."""
    state.random[i] += np.uint64(0x9E3779B97F4A7C15)
    z = state.random[i]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return (np.float64(z >> np.uint64(11)) + 0.5) / 9007199254740992.0


@_small
def _travel(state, i, samples):
    return samples[0] if len(samples) == 1 else samples[int(_uniform(state, i) * len(samples))]


@_small
def _note(state, i, kind, j, col, size, fee):
    """Log; what does not fit is counted, so that the caller can make room and play again."""
    row = state.account[i, LOGGED]
    state.account[i, LOGGED] += 1
    if row >= state.log.shape[1]:
        return
    log, orders = state.log, state.orders
    log[i, row, KIND] = kind
    log[i, row, AT] = state.account[i, NOW]
    log[i, row, OF] = orders[i, j, ID]
    log[i, row, L_SIDE] = orders[i, j, SIDE]
    log[i, row, L_COL] = col
    log[i, row, L_SIZE] = size
    log[i, row, L_AHEAD] = orders[i, j, AHEAD]
    log[i, row, L_LEFT] = orders[i, j, LEFT]
    log[i, row, L_FEE] = fee


# The book as an account sees it.


@_small
def _shown(state, market, i, side, c):
    """Size of a level: of the account's own book, or of the row it stands on."""
    if len(market.rows):
        return np.int64(market.rows[state.account[i, CURSOR], side, c, 0])
    return np.int64(state.depth[i, side, c])


@_small
def _available(state, market, rules, i, side, c):
    """What a level still gives: as shown, less what we took of it and has not come back."""
    shown = _shown(state, market, i, side, c)
    taken = state.taken[i, side, c]
    if taken == 0 or shown == 0:
        return shown
    if state.account[i, NOW] - state.taken_at[i, side, c] >= rules.back_us:
        state.taken[i, side, c] = 0
        state.account[i, TAKEN] -= 1
        return shown
    return max(shown - taken, 0)


@_small
def _consume(state, i, side, c, size):
    if state.taken[i, side, c] == 0:
        state.account[i, TAKEN] += 1
    state.taken[i, side, c] += size
    state.taken_at[i, side, c] = state.account[i, NOW]


@_small
def _limit_taken(state, i, side, c, shown):
    """A level that shrank below what we took has nothing left of it; what comes anew is new."""
    if state.taken[i, side, c] > shown:
        state.taken[i, side, c] = shown
        if shown == 0:
            state.account[i, TAKEN] -= 1


@_compiled
def _scan(state, i):
    """Find the touch of the account's own book."""
    columns = state.depth.shape[2]
    bid, ask = columns - 1, 0
    while bid >= 0 and state.depth[i, 0, bid] == 0:
        bid -= 1
    while ask < columns and state.depth[i, 1, ask] == 0:
        ask += 1
    state.account[i, BID], state.account[i, ASK] = bid, ask


# Money.


@_small
def _fee_bound(rules, price, size):
    """No fills of an order may cost more in fees than this, however it is split, but for what `_fill` guards."""
    rate = max(rules.taker_rate, rules.maker_rate)
    steps = -(-(rate * price * (DOLLAR - price) * size) // rules.fee_unit)
    return steps * rules.fee_step + rules.precision


@_small
def _own_price(market, side, c):
    return np.int64(market.price[c]) if side == 0 else np.int64(DOLLAR - market.price[c])


@_small
def _end(state, i, j, reason):
    """An order is over: out of its queue, its reserve released."""
    account, orders, queue = state.account, state.orders, state.queue
    if orders[i, j, STATUS] == RESTS:
        count = account[i, RESTING]
        place = 0
        while queue[i, place] != j:
            place += 1
        for other in range(place, count - 1):
            queue[i, other] = queue[i, other + 1]
        account[i, RESTING] = count - 1
    account[i, RESERVED] -= orders[i, j, RESERVE]
    orders[i, j, RESERVE] = 0
    orders[i, j, STATUS] = DONE
    orders[i, j, REASON] = reason
    _note(state, i, ENDED, j, orders[i, j, COL], reason, _NOTHING)


@_compiled
def _fill(state, market, rules, i, j, c, size, taker):
    """Book one fill at a column and return its size: 0 where cash does not pay for it, which ends the order.

    The fee is the venue's, with the roundings that each order carries (kflow.market.fees, protocol 6.2). Of a pair of
    YES and NO a dollar comes back at once.
    """
    account, orders = state.account, state.orders
    side = orders[i, j, SIDE]
    price = np.int64(market.price[c])
    own = price if side == 0 else DOLLAR - price
    cost = own * size
    rate = rules.taker_rate if taker else rules.maker_rate
    fee = -(-(rate * price * (DOLLAR - price) * size) // rules.fee_unit) * rules.fee_step
    rounding = (-cost - fee) % rules.precision
    carried = orders[i, j, CARRIED] + rounding
    due = min(carried, fee + rounding)
    rebate = due - due % rules.precision
    charged = fee + rounding - rebate
    held = account[i, POSITION] if side == 1 else -account[i, POSITION]
    closing = min(max(held, 0), size)
    paid = cost + charged - closing * DOLLAR
    if paid > account[i, CASH]:
        _end(state, i, j, NO_CASH)
        return 0
    orders[i, j, CARRIED] = carried - rebate
    account[i, CASH] -= paid
    account[i, FEES] += charged
    account[i, VOLUME] += size
    account[i, POSITION] += size if side == 0 else -size
    left = orders[i, j, LEFT] - size
    # What closes a position is filled first; the rest keeps its reserve.
    opened = size - min(size, orders[i, j, LEFT] - orders[i, j, OPEN])
    orders[i, j, OPEN] -= opened
    limit = _own_price(market, side, orders[i, j, COL])
    reserve = limit * orders[i, j, OPEN] + _fee_bound(rules, limit, left) if left else 0
    reserve = min(reserve, orders[i, j, RESERVE])
    account[i, RESERVED] += reserve - orders[i, j, RESERVE]
    orders[i, j, RESERVE] = reserve
    orders[i, j, LEFT] = left
    orders[i, j, NOTIONAL] += cost
    orders[i, j, FEE] += charged
    if orders[i, j, FIRST] == 0:
        orders[i, j, FIRST] = account[i, NOW]
    orders[i, j, LAST] = account[i, NOW]
    _note(state, i, TOOK if taker else MADE, j, c, size, charged)
    if left == 0:
        _end(state, i, j, FILLED)
    return size


# Queues.


@_small
def _ahead_of(size, front, behind, omega, power, curve):
    """How much of a cancellation lay ahead: odds omega/(1 - omega) * (front/behind)^n, or a curve's; what there is."""
    if front <= 0 or behind <= 0:
        return min(size, front) if front > 0 else 0
    if curve.shape[0]:
        at = np.float64(front) / np.float64(front + behind) * np.float64(curve.shape[0] - 1)
        low = min(np.int64(at), curve.shape[0] - 2)
        part = np.int64(size * (curve[low] + (at - low) * (curve[low + 1] - curve[low])))
    elif omega == 0.5 and power == 1.0:
        part = size * front // (front + behind)
    elif omega <= 0.0:
        part = np.int64(0)
    elif omega >= 1.0:
        part = size
    else:
        weight = omega * np.float64(front) ** power
        part = np.int64(size * (weight / (weight + (1.0 - omega) * np.float64(behind) ** power)))
    return min(max(part, size - behind), front)


@_small
def _cancelled(orders, queue, i, resting, side, c, size, level, omega, power, curve):
    """A level shrank without a trade; `level` is its size before."""
    for place in range(resting):
        j = queue[i, place]
        if orders[i, j, SIDE] == side and orders[i, j, COL] == c:
            front = min(orders[i, j, AHEAD], level)
            orders[i, j, AHEAD] = front - _ahead_of(size, front, level - front, omega, power, curve)


@_small
def _eaten(orders, queue, i, resting, side, c, size):
    """Let a trade eat what is ahead of our orders at its price. False, and nothing done, where it reaches one."""
    for place in range(resting):
        j = queue[i, place]
        if orders[i, j, SIDE] == side and (orders[i, j, COL] != c or orders[i, j, AHEAD] < size):
            col = orders[i, j, COL]
            if (col >= c) if side == 0 else (col <= c):
                return False
    for place in range(resting):
        j = queue[i, place]
        if orders[i, j, SIDE] == side and orders[i, j, COL] == c:
            orders[i, j, AHEAD] -= size
    return True


@_compiled
def _note_queue(state, i, kind, side, c):
    """Log by how much what is ahead of our orders at a level became less."""
    for place in range(state.account[i, RESTING]):
        j = state.queue[i, place]
        if state.orders[i, j, SIDE] == side and state.orders[i, j, COL] == c:
            gone = state.before[i, j] - state.orders[i, j, AHEAD]
            if gone:
                _note(state, i, kind, j, c, gone, _NOTHING)


@_compiled
def _reached(state, rules, i, j, size, through):
    """How much of a trade reaches a resting order; what is ahead of it at its own price is eaten first."""
    orders = state.orders
    if rules.model == TOUCH:
        return orders[i, j, LEFT]
    if not through:
        front = min(orders[i, j, AHEAD], size)
        orders[i, j, AHEAD] -= front
        size -= front
    return min(size, orders[i, j, LEFT])


@_compiled
def _traded(state, market, rules, i, side, c, size):
    """Takers took `size` of a side at a column: it meets our better orders first, best first, then the queue there."""
    account, orders, queue = state.account, state.orders, state.queue
    touch = rules.model == TOUCH
    left = size
    while left > 0:
        best = np.int64(-1)
        for place in range(account[i, RESTING]):
            j = queue[i, place]
            col, limit = orders[i, j, COL], orders[i, best, COL] if best >= 0 else c
            if orders[i, j, SIDE] == side and (col > limit if side == 0 else col < limit):
                best = j
        if best < 0:
            break
        reached = _reached(state, rules, i, best, left, True)
        filled = _fill(state, market, rules, i, best, orders[i, best, COL], reached, False)
        left -= 0 if touch else filled
    own = 0  # filled of our own orders that lie ahead at this price
    place = 0
    while place < account[i, RESTING] and left > 0:
        j = queue[i, place]
        meets = orders[i, j, SIDE] == side and orders[i, j, COL] == c
        if meets:
            reached = _reached(state, rules, i, j, left - own, False)
            if reached > 0:
                filled = _fill(state, market, rules, i, j, c, reached, False)
                own += 0 if touch else filled
        if not (meets and orders[i, j, STATUS] == DONE):
            place += 1


@_compiled
def _meet(state, market, rules, i):
    """Orders of the other side that stand at or beyond our price have come to us: they fill us up to their size."""
    account, orders, queue = state.account, state.orders, state.queue
    place = 0
    while place < account[i, RESTING]:
        j = queue[i, place]
        side, col = orders[i, j, SIDE], orders[i, j, COL]
        c = account[i, ASK] if side == 0 else account[i, BID]
        toward = 1 if side == 0 else -1
        while orders[i, j, STATUS] == RESTS and (c <= col if side == 0 else c >= col):
            size = _available(state, market, rules, i, 1 - side, c)
            if size > 0:
                size = min(size, orders[i, j, LEFT])
                filled = _fill(state, market, rules, i, j, col, size, False)
                if filled > 0:
                    _consume(state, i, 1 - side, c, filled)
            c += toward
        if orders[i, j, STATUS] == RESTS:
            place += 1


# The requirements' model, as a hazard.


@_compiled
def _seed_chance(state, market, i, j):
    """Chance of a fill by the older system's formula (docs/simulation.md), clamped to [.01, .99]."""
    account, orders = state.account, state.orders
    side = orders[i, j, SIDE]
    columns = market.price.shape[0]
    limit = _own_price(market, side, orders[i, j, COL])
    bid, ask = account[i, BID], account[i, ASK]
    near, far = (bid, ask) if side == 0 else (ask, bid)
    has_near, has_far = 0 <= near < columns, 0 <= far < columns
    own = _own_price(market, side, near) if has_near else limit
    cross = _own_price(market, side, far) if has_far else np.int64(DOLLAR)
    spread = cross - own
    if has_far and limit > cross:
        chance = 0.99
    elif has_far and limit == cross:
        chance = 0.95
    elif limit >= own:
        chance = 0.40 + (0.40 * (limit - own) / spread if spread > 0 and has_far else 0.0)
    else:
        chance = max(0.10, 0.30 - 0.05 * (own - limit) / 100.0)
    age = min(account[i, NOW] - orders[i, j, RESTED], _RAMP_US) / _RAMP_US
    chance += -0.10 + 0.15 * age
    size = orders[i, j, SIZE]
    chance += 0.05 if size < 1_000 else 0.0 if size <= 5_000 else -0.03 if size <= 10_000 else -0.10
    chance += 0.2 * min(state.activity[i] / _BUSY, 1.0) - 0.1
    if has_near and has_far and spread > 500:
        chance -= 0.1 * min((spread - 500) / 1_000.0, 1.0)
    return min(max(chance, _LEAST), _MOST)


@_compiled
def _live(state, market, rules, i):
    """Let resting orders live through the hazard since the last event; fill those that have lived through enough."""
    account, orders, queue = state.account, state.orders, state.queue
    elapsed_us = account[i, NOW] - account[i, LIVED]
    account[i, LIVED] = account[i, NOW]
    place = 0
    while place < account[i, RESTING]:
        j = queue[i, place]
        since = min(elapsed_us, account[i, NOW] - orders[i, j, RESTED])
        chance = _seed_chance(state, market, i, j)
        state.chance[i, j, 0] -= np.log(1.0 - chance) * since / rules.horizon_us
        if state.chance[i, j, 0] >= state.chance[i, j, 1]:
            _take(state, market, rules, i, j)
            if orders[i, j, STATUS] == RESTS:
                _fill(state, market, rules, i, j, orders[i, j, COL], orders[i, j, LEFT], False)
        if orders[i, j, STATUS] == RESTS:
            place += 1


# What orders do.


@_small
def _crosses(state, i, side, c):
    return state.account[i, ASK] <= c if side == 0 else state.account[i, BID] >= c


@_small
def _take(state, market, rules, i, j):
    """Take what the other side shows, best price first, up to the order's own price."""
    account, orders = state.account, state.orders
    side, limit = orders[i, j, SIDE], orders[i, j, COL]
    c = account[i, ASK] if side == 0 else account[i, BID]
    toward = 1 if side == 0 else -1
    while orders[i, j, STATUS] != DONE and (c <= limit if side == 0 else c >= limit):
        size = min(_available(state, market, rules, i, 1 - side, c), orders[i, j, LEFT])
        if size > 0:
            filled = _fill(state, market, rules, i, j, c, size, True)
            if filled > 0:
                _consume(state, i, 1 - side, c, filled)
        c += toward


@_small
def _refusal(state, market, rules, i, j):
    """Why an order may not enter, or 0. Counts every open order as filled: nothing may break if all are."""
    account, orders = state.account, state.orders
    side, col, size = orders[i, j, SIDE], orders[i, j, COL], orders[i, j, LEFT]
    if size <= 0 or size > account[i, MAX_ORDER]:
        return OVER_SIZE
    held = account[i, POSITION] if side == 1 else -account[i, POSITION]
    if orders[i, j, FLAGS] & REDUCE_ONLY:
        size = min(size, max(held, 0))
        if size == 0:
            return OVER_POSITION
        orders[i, j, LEFT] = size
    waiting, covered = np.int64(0), np.int64(0)
    for place in range(account[i, RESTING]):
        other = state.queue[i, place]
        if orders[i, other, SIDE] == side:
            waiting += orders[i, other, LEFT]
            covered += orders[i, other, LEFT] - orders[i, other, OPEN]
        elif (orders[i, other, COL] <= col) if side == 0 else (orders[i, other, COL] >= col):
            return SELF_TRADE
    if waiting + size - held > account[i, MAX_POSITION]:
        return OVER_POSITION
    opened = size - min(max(held - covered, 0), size)
    own = _own_price(market, side, col)
    reserve = own * opened + _fee_bound(rules, own, size)
    if reserve > account[i, CASH] - account[i, RESERVED]:
        return NO_CASH
    orders[i, j, OPEN], orders[i, j, RESERVE] = opened, reserve
    account[i, RESERVED] += reserve
    return 0


@_small
def _enter(state, market, rules, i, j):
    """An order reaches the book: refused, filled, or left to rest at the back of its level. Why it ended, or 0."""
    account, orders = state.account, state.orders
    side = orders[i, j, SIDE]
    crosses = _crosses(state, i, side, orders[i, j, COL])
    if crosses and orders[i, j, FLAGS] & POST_ONLY:
        return WOULD_CROSS
    if crosses and orders[i, j, LEFT] < rules.walk_from:
        orders[i, j, COL] = account[i, ASK] if side == 0 else account[i, BID]
    reason = _refusal(state, market, rules, i, j)
    if reason:
        return reason
    orders[i, j, RESTED] = account[i, NOW]
    if rules.model == HAZARD:
        state.chance[i, j, 0] = 0.0
        state.chance[i, j, 1] = -np.log(_uniform(state, i))
        if crosses:
            crosses = _uniform(state, i) < _seed_chance(state, market, i, j)
    if crosses:
        _take(state, market, rules, i, j)
    if orders[i, j, STATUS] == DONE:
        return 0  # ended where it was filled
    if orders[i, j, FLAGS] & IOC:
        return NO_REST
    orders[i, j, AHEAD] = _available(state, market, rules, i, side, orders[i, j, COL])
    orders[i, j, STATUS] = RESTS
    state.queue[i, account[i, RESTING]] = j
    account[i, RESTING] += 1
    _note(state, i, ARRIVED, j, orders[i, j, COL], orders[i, j, LEFT], _NOTHING)
    return 0


@_small
def _amend(state, i, j):
    """A smaller size keeps its place. Another price or a larger size takes it out of the book: True, it enters anew."""
    account, orders = state.account, state.orders
    col, size = orders[i, j, AMEND_COL], orders[i, j, AMEND_SIZE]
    orders[i, j, AMENDS] = NEVER
    if col == orders[i, j, COL] and size <= orders[i, j, LEFT]:
        orders[i, j, OPEN] = min(orders[i, j, OPEN], size)
        orders[i, j, LEFT] = size
        _note(state, i, AMENDED, j, col, size, _NOTHING)
        return False
    place = 0
    while state.queue[i, place] != j:
        place += 1
    for other in range(place, account[i, RESTING] - 1):
        state.queue[i, other] = state.queue[i, other + 1]
    account[i, RESTING] -= 1
    account[i, RESERVED] -= orders[i, j, RESERVE]
    orders[i, j, RESERVE] = 0
    orders[i, j, STATUS] = TRAVELS
    orders[i, j, COL], orders[i, j, LEFT] = col, size
    _note(state, i, AMENDED, j, col, size, _NOTHING)
    return True


@_small
def _due(orders, i, j):
    """When something happens to an order by itself."""
    status = orders[i, j, STATUS]
    if status == TRAVELS:
        return orders[i, j, ARRIVES]
    if status == RESTS:
        return min(orders[i, j, CANCELS], min(orders[i, j, AMENDS], orders[i, j, EXPIRES]))
    return NEVER


@_compiled
def _act(state, market, rules, i, before):
    """Let everything that is due before a moment happen, in its order; of one moment the lowest slot first."""
    account, orders = state.account, state.orders
    resume = account[i, NOW]
    while True:
        first, due = np.int64(-1), np.int64(NEVER)
        for j in range(account[i, SLOTS]):
            when = _due(orders, i, j)
            if when < due:
                first, due = j, when
        account[i, DUE] = due
        if due >= before:
            break
        account[i, NOW] = max(due, resume)
        resume = account[i, NOW]
        # Each in one place, since they are put in here: an order ends, or enters, or both.
        enters, reason = False, np.int64(0)
        if orders[i, first, STATUS] == TRAVELS:
            orders[i, first, ARRIVES] = NEVER
            enters = True
        elif due == orders[i, first, CANCELS]:
            reason = CANCELLED
        elif due == orders[i, first, EXPIRES]:
            reason = EXPIRED
        else:
            enters = _amend(state, i, first)
            if orders[i, first, LEFT] <= 0 and not enters:
                reason = CANCELLED
        if enters:
            reason = _enter(state, market, rules, i, first)
        if reason:
            _end(state, i, first, reason)


@_small
def place(state, market, rules, i, side, c, size, flags, ttl_us):
    """Send an order; the slot it has, or -1 where all are in use. It reaches the venue after its latency.

    What an account sees is `data` old, so that much is added. `ttl_us` 0: good till cancelled.
    """
    account, orders = state.account, state.orders
    slot = np.int64(-1)
    for j in range(orders.shape[1]):
        if orders[i, j, STATUS] == FREE or orders[i, j, STATUS] == DONE:
            slot = j
            break
    number = account[i, PLACED]
    account[i, PLACED] += 1
    if slot < 0:
        return slot
    account[i, SLOTS] = max(account[i, SLOTS], slot + 1)
    for field in range(ORDER):
        orders[i, slot, field] = 0
    now = account[i, NOW]
    seen = now + _travel(state, i, rules.data)
    orders[i, slot, ID] = number
    orders[i, slot, STATUS] = TRAVELS
    orders[i, slot, SIDE], orders[i, slot, COL] = side, c
    orders[i, slot, SIZE], orders[i, slot, LEFT] = size, size
    orders[i, slot, FLAGS] = flags
    orders[i, slot, SENT_AT] = now
    orders[i, slot, ARRIVES] = seen + _travel(state, i, rules.place)
    orders[i, slot, CANCELS] = orders[i, slot, AMENDS] = NEVER
    orders[i, slot, EXPIRES] = seen + ttl_us if ttl_us > 0 else NEVER
    account[i, DUE] = min(account[i, DUE], orders[i, slot, ARRIVES])
    _note(state, i, SENT, slot, c, size, _NOTHING)
    if c < 0 or c >= market.price.shape[0]:
        _end(state, i, slot, NO_PLACE)
    return slot


@_small
def cancel(state, rules, i, j):
    """Ask for an order's cancellation; it works when it arrives, and an order that still travels waits for it."""
    if state.orders[i, j, STATUS] == TRAVELS or state.orders[i, j, STATUS] == RESTS:
        now = state.account[i, NOW] + _travel(state, i, rules.data)
        when = now + _travel(state, i, rules.cancel)
        state.orders[i, j, CANCELS] = min(state.orders[i, j, CANCELS], when)
        state.account[i, DUE] = min(state.account[i, DUE], when)


@_compiled
def amend(state, rules, i, j, c, size):
    """Ask for another price or remaining size; it travels as an order does. One off the grid is not sent."""
    open_ = state.orders[i, j, STATUS] == TRAVELS or state.orders[i, j, STATUS] == RESTS
    if open_ and 0 <= c < state.depth.shape[2]:
        now = state.account[i, NOW] + _travel(state, i, rules.data)
        when = now + _travel(state, i, rules.place)
        state.orders[i, j, AMENDS] = when
        state.orders[i, j, AMEND_COL], state.orders[i, j, AMEND_SIZE] = c, size
        state.account[i, DUE] = min(state.account[i, DUE], when)


@_compiled
def _end_open(state, i, reason):
    """End every order that is open."""
    for j in range(state.orders.shape[1]):
        if state.orders[i, j, STATUS] == TRAVELS or state.orders[i, j, STATUS] == RESTS:
            _end(state, i, j, reason)
    state.account[i, DUE] = NEVER


@_compiled
def _leave(state, i):
    """Nothing of what an account did on a stretch goes with it to another, but for its money and its position."""
    account = state.account
    _end_open(state, i, GONE)
    if account[i, TAKEN]:
        for side in range(2):
            for c in range(state.taken.shape[2]):
                state.taken[i, side, c] = 0
        account[i, TAKEN] = 0
    state.activity[i] = 0.0
    account[i, LAST_BID] = account[i, LAST_ASK] = -1


# Every event.


@_compiled
def _look_back(state, market, i, first, low, us):
    """Trades of the last three minutes before an account begins, those longer ago counting less."""
    account = state.account
    event = low
    while event > first and market.us[event - 1] > us - _LOOK_BACK_US:
        event -= 1
    account[i, LAST_TRADE] = us - _LOOK_BACK_US
    while event < low:
        trades = 0
        account[i, NOW] = market.us[event]
        while True:
            trades += (market.code[event] & 3) >= TRADE
            event += 1
            if market.code[event - 1] & 8:
                break
        if trades:
            _count_trades(state, i, trades)
    account[i, NOW] = us


@_compiled
def seat(state, market, i, stretch, us):
    """Put an account on a tape, at a moment of a stretch: everything up to and including it has happened."""
    account = state.account
    _leave(state, i)
    first, behind = market.bounds[stretch, 0], market.bounds[stretch, 1]
    low, high = first, behind
    while low < high:
        middle = (low + high) // 2
        if market.us[middle] <= us:
            low = middle + 1
        else:
            high = middle
    key = np.searchsorted(market.keys, low + 1) - 1 if low < behind else np.searchsorted(market.keys, low) - 1
    for side in range(2):
        for c in range(state.depth.shape[2]):
            state.depth[i, side, c] = market.books[key, side, c]
    for event in range(market.keys[key], low):
        kind, side = market.code[event] & 3, market.code[event] >> 2 & 1
        if kind == ADD:
            state.depth[i, side, market.col[event]] += market.size[event]
        elif kind != PRINT:
            state.depth[i, side, market.col[event]] -= market.size[event]
    account[i, CURSOR], account[i, END], account[i, NOW] = low, behind, us
    _look_back(state, market, i, first, low, us)
    account[i, LIVED] = us
    _scan(state, i)


@_small
def _own_columns(orders, queue, i, resting):
    """Lowest and highest column of our resting orders, of side 0, then of side 1: most events lie outside of them."""
    low0, high0, low1, high1 = np.int64(NEVER), np.int64(-1), np.int64(NEVER), np.int64(-1)
    for place in range(resting):
        j = queue[i, place]
        col = orders[i, j, COL]
        if orders[i, j, SIDE] == 0:
            low0, high0 = min(low0, col), max(high0, col)
        else:
            low1, high1 = min(low1, col), max(high1, col)
    return low0, high0, low1, high1


@_small
def _front(orders, queue, i, resting, side, c):
    """Nothing is ahead of our orders at a level that is gone."""
    for place in range(resting):
        j = queue[i, place]
        if orders[i, j, SIDE] == side and orders[i, j, COL] == c:
            orders[i, j, AHEAD] = 0


@_compiled
def _count_trades(state, i, trades):
    """Trades of the last minute, those longer ago counting less."""
    account = state.account
    since = account[i, NOW] - account[i, LAST_TRADE]
    state.activity[i] = state.activity[i] * np.exp(-since / _ACTIVITY_US) + trades
    account[i, LAST_TRADE] = account[i, NOW]


@_compiled
def _run(state, market, rules, i, until, idle):
    """Take every event up to and including a moment. Orders see the book only between the venue's microseconds.

    `idle` False: stop as soon as no order is open, where nothing can happen to the account any more.

    Arrays are taken out of their tuples once, and calls are made only for events that concern an order: passing the
    tuples on at every event costs more than the event does (docs/decisions/0007-simulation.md).
    """
    account, orders, queue, depth = state.account, state.orders, state.queue, state.depth
    us, codes, cols, sizes = market.us, market.code, market.col, market.size
    columns = depth.shape[2]
    hazard, touch, verbose = rules.model == HAZARD, rules.model == TOUCH, rules.verbose
    omega, power, curve = rules.ahead, rules.power, rules.curve
    cursor, end = account[i, CURSOR], account[i, END]
    bid, ask = account[i, BID], account[i, ASK]
    resting = account[i, RESTING]
    low0, high0, low1, high1 = _own_columns(orders, queue, i, resting)
    while cursor < end and us[cursor] <= until and (idle or resting or account[i, DUE] < NEVER):
        now = us[cursor]
        if account[i, DUE] < now:
            account[i, BID], account[i, ASK] = bid, ask
            _act(state, market, rules, i, now)
            resting = account[i, RESTING]
            low0, high0, low1, high1 = _own_columns(orders, queue, i, resting)
        account[i, NOW] = now
        trades = 0
        while True:
            code = codes[cursor]
            kind, side = np.int64(code & 3), np.int64(code >> 2 & 1)
            c, size = np.int64(cols[cursor]), np.int64(sizes[cursor])
            cursor += 1
            if kind == ADD:
                depth[i, side, c] += size
                if side == 0:
                    bid = max(bid, c)
                else:
                    ask = min(ask, c)
            else:
                trades += kind >= TRADE
                # At our price, or a trade that went beyond it.
                if side == 0:
                    concerns = c <= high0 and (c >= low0 or kind >= TRADE)
                else:
                    concerns = c >= low1 and (c <= high1 or kind >= TRADE)
                if concerns and not hazard:
                    if verbose:
                        for j in range(orders.shape[1]):
                            state.before[i, j] = orders[i, j, AHEAD]
                    if kind == CANCEL:
                        level = np.int64(depth[i, side, c])
                        _cancelled(orders, queue, i, resting, side, c, size, level, omega, power, curve)
                    elif touch or not _eaten(orders, queue, i, resting, side, c, size):
                        _traded(state, market, rules, i, side, c, size)
                        resting = account[i, RESTING]
                        low0, high0, low1, high1 = _own_columns(orders, queue, i, resting)
                    if verbose:
                        _note_queue(state, i, QUEUE_CANCELLED if kind == CANCEL else QUEUE_TRADED, side, c)
                if kind != PRINT:
                    left = depth[i, side, c] - size
                    depth[i, side, c] = left
                    if account[i, TAKEN]:
                        _limit_taken(state, i, side, c, left)
                    if left == 0 and size:
                        if side == 0:
                            while bid >= 0 and depth[i, 0, bid] == 0:
                                bid -= 1
                            if bid < 0:
                                account[i, LAST_BID] = c
                        else:
                            while ask < columns and depth[i, 1, ask] == 0:
                                ask += 1
                            if ask == columns:
                                account[i, LAST_ASK] = c
                        _front(orders, queue, i, resting, side, c)
            if code & 8:
                break
        if hazard:
            account[i, BID], account[i, ASK] = bid, ask
            if trades:
                _count_trades(state, i, trades)
            if resting:
                _live(state, market, rules, i)
                resting = account[i, RESTING]
                low0, high0, low1, high1 = _own_columns(orders, queue, i, resting)
            else:
                account[i, LIVED] = now
        elif ask <= high0 or bid >= low1:
            account[i, BID], account[i, ASK] = bid, ask
            _meet(state, market, rules, i)
            resting = account[i, RESTING]
            low0, high0, low1, high1 = _own_columns(orders, queue, i, resting)
    account[i, CURSOR] = cursor
    account[i, BID], account[i, ASK] = bid, ask
    if cursor < end and us[cursor] <= until:
        return  # stands where its last order ended
    last = us[end - 1]
    if account[i, DUE] <= min(until, last):
        _act(state, market, rules, i, min(until, last) + 1)
    if until > last:
        _end_open(state, i, GONE)  # what follows is not known
    account[i, NOW] = max(until, account[i, NOW])


@_small
def run(state, market, rules, i, until):
    """Take every event up to and including a moment."""
    _run(state, market, rules, i, until, True)


# Steps of a decision grid.


@_compiled
def seat_on_row(state, market, i, row):
    """Put an account on a row of a grid."""
    account = state.account
    _leave(state, i)
    account[i, CURSOR], account[i, END] = row, len(market.rows)
    account[i, NOW] = market.start_us + row * market.step_us
    account[i, LAST_TRADE] = account[i, LIVED] = account[i, NOW]
    account[i, BID], account[i, ASK] = market.top[row, 0], market.top[row, 1]


@_compiled
def _share(total, part):
    """Of the parts of a whole number that together are it."""
    return total * (part + 1) // _PARTS - total * part // _PARTS


@_compiled
def _pass_row(state, market, rules, i, row):
    """What happened to the levels of our orders on the way to a row."""
    account, orders = state.account, state.orders
    used = np.int64(0)  # of what went through our prices
    place = 0
    while place < account[i, RESTING]:
        j = state.queue[i, place]
        side, c = orders[i, j, SIDE], orders[i, j, COL]
        through = np.int64(0)
        worst = market.far[row, side]
        if worst >= 0:
            away = -1 if side == 0 else 1
            k = c + away
            while (k >= worst) if side == 0 else (k <= worst):
                through += market.rows[row, side, k, 1]
                k += away
        if through > used:
            reached = _reached(state, rules, i, j, through - used, True)
            used += _fill(state, market, rules, i, j, c, reached, False)
        level = np.int64(market.rows[row - 1, side, c, 0])
        after = np.int64(market.rows[row, side, c, 0])
        traded, gone = np.int64(market.rows[row, side, c, 1]), np.int64(market.rows[row, side, c, 2])
        added = after - level + traded + gone
        # In which order they came is not kept: a part of each in turn.
        for part in range(_PARTS):
            if orders[i, j, STATUS] != RESTS:
                break
            size = _share(traded, part)
            if size > 0:
                reached = _reached(state, rules, i, j, size, False)
                if reached > 0:
                    _fill(state, market, rules, i, j, c, reached, False)
                level = max(level - size, 0)
            size = min(_share(gone, part), level)
            if size > 0:
                front = min(orders[i, j, AHEAD], level)
                ahead = _ahead_of(size, front, level - front, rules.ahead, rules.power, rules.curve)
                orders[i, j, AHEAD] = front - ahead
                level -= size
            level += _share(added, part)
        if orders[i, j, STATUS] == RESTS:
            orders[i, j, AHEAD] = min(orders[i, j, AHEAD], after)
            place += 1


@_compiled
def step(state, market, rules, i):
    """Go to the next row. What arrives between two rows arrives at the later: never early. False at the last row."""
    account = state.account
    row = account[i, CURSOR] + 1
    if row >= account[i, END]:
        _end_open(state, i, GONE)
        return False
    now = market.start_us + row * market.step_us
    if account[i, DUE] <= account[i, NOW]:
        _act(state, market, rules, i, account[i, NOW] + 1)
    account[i, NOW] = now
    hazard = rules.model == HAZARD
    if account[i, RESTING] and not hazard:
        _pass_row(state, market, rules, i, row)
    account[i, CURSOR] = row
    bid, ask = market.top[row, 0], market.top[row, 1]
    if bid < 0 <= account[i, BID]:
        account[i, LAST_BID] = account[i, BID]
    if ask == market.price.shape[0] > account[i, ASK]:
        account[i, LAST_ASK] = account[i, ASK]
    account[i, BID], account[i, ASK] = bid, ask
    if account[i, TAKEN]:
        for side in range(2):
            for c in range(state.taken.shape[2]):
                if state.taken[i, side, c]:
                    _limit_taken(state, i, side, c, market.rows[row, side, c, 0])
    if hazard:
        trades = (market.far[row, 0] >= 0) + (market.far[row, 1] >= 0)
        if trades:
            _count_trades(state, i, trades)
        _live(state, market, rules, i)
    elif account[i, RESTING]:
        _meet(state, market, rules, i)
    # Late, so at this row and not when they were due.
    if account[i, DUE] <= now:
        _act(state, market, rules, i, now + 1)
    return True


# Whole plans at once.


@_small
def _find(state, i, number):
    for j in range(state.account[i, SLOTS]):
        if state.orders[i, j, ID] == number and state.orders[i, j, STATUS] != FREE:
            return j
    return -1


@_small
def price_column(state, i, side, rule, c):
    """Column that a price rule means now; outside the grid where the book does not say."""
    account = state.account
    near, far = (account[i, BID], account[i, ASK]) if side == 0 else (account[i, ASK], account[i, BID])
    if rule == JOIN:
        return near
    if rule == CROSS:
        return far
    if rule == SWEEP:
        return np.int64(state.depth.shape[2] - 1) if side == 0 else np.int64(0)
    if rule == IMPROVE:
        better = near + 1 if side == 0 else near - 1
        return near if better == far else better
    return c


@_small
def _instruct(state, market, rules, i, what, k):
    """Carry out one instruction: row k."""
    op = what[k, I_OP]
    if op == PLACE:
        side = what[k, I_SIDE]
        c = price_column(state, i, side, what[k, I_RULE], what[k, I_COL])
        place(state, market, rules, i, side, c, what[k, I_SIZE], what[k, I_FLAGS], what[k, I_TTL])
    elif op == CANCEL_ALL:
        for j in range(state.account[i, SLOTS]):
            cancel(state, rules, i, j)
    else:
        j = _find(state, i, what[k, I_OF])
        if j >= 0 and op == CANCEL_ORDER:
            cancel(state, rules, i, j)
        elif j >= 0:
            c = price_column(state, i, state.orders[i, j, SIDE], what[k, I_RULE], what[k, I_COL])
            amend(state, rules, i, j, c, what[k, I_SIZE])


@_compiled
def play(state, market, rules, instructions, spans, stops):
    """Carry out plans: of account i the instructions [spans[i, 0], spans[i, 1]) in order of time, then on to stops[i].

    Behind the last instruction an account stands as soon as no order of its is open.
    """
    account = state.account
    for i in range(len(spans)):
        for k in range(spans[i, 0], spans[i, 1]):
            at = instructions[k, I_AT]
            if account[i, NOW] < at or account[i, DUE] <= at:
                run(state, market, rules, i, at)
            _instruct(state, market, rules, i, instructions, k)
        _run(state, market, rules, i, stops[i], False)


@_compiled
def play_on_grid(state, market, rules, instructions, spans, stops):
    """The same on a grid: an instruction is carried out on the first row that is not before it."""
    for i in range(len(spans)):
        for k in range(spans[i, 0], spans[i, 1]):
            while state.account[i, NOW] < instructions[k, I_AT] and step(state, market, rules, i):
                pass
            _instruct(state, market, rules, i, instructions, k)
        while (
            state.account[i, NOW] < stops[i]
            and (state.account[i, RESTING] or state.account[i, DUE] < NEVER)
            and step(state, market, rules, i)
        ):
            pass


@_compiled
def seat_all(state, market, stretch, starts):
    """`seat` for every account."""
    for i in range(len(starts)):
        seat(state, market, i, stretch[i], starts[i])


@_compiled
def settle(state, i, value):
    """End every order and pay out: `value` of a YES contract, 1e-4 dollar."""
    account = state.account
    _end_open(state, i, SETTLED)
    held = account[i, POSITION]
    account[i, CASH] += held * value if held > 0 else -held * (DOLLAR - value)
    account[i, POSITION] = 0


@_compiled
def liquidation(state, market, rules, i):
    """What the position would bring now, 1e-6 dollar: sold level by level, fees paid.

    What the book does not take is worth its worst price; where nobody quotes, the last best price that was seen there,
    if it still lies within the other side's quote: a book that is thin or one-sided for a moment is no loss, and no
    gain to whoever buys what nobody wants. 0 where nobody was ever seen.
    """
    account = state.account
    left = abs(account[i, POSITION])
    side = 0 if account[i, POSITION] > 0 else 1
    c = account[i, BID] if side == 0 else account[i, ASK]
    rest = account[i, LAST_BID] if side == 0 else account[i, LAST_ASK]
    toward = -1 if side == 0 else 1
    if side == 0 and rest >= 0:
        rest = min(rest, account[i, ASK] - 1)
    elif rest >= 0:
        rest = max(rest, account[i, BID] + 1)
    worth = np.int64(0)
    while left > 0 and 0 <= c < market.price.shape[0]:
        if _shown(state, market, i, side, c) > 0:
            rest = c
        size = min(_available(state, market, rules, i, side, c), left)
        if size > 0:
            worth += _sold(market, rules, side, c, size)
            left -= size
        c += toward
    if left > 0 and 0 <= rest < market.price.shape[0]:
        worth += _sold(market, rules, side, rest, left)
    return worth


@_small
def _sold(market, rules, side, c, size):
    """What a sale to bids of a side brings after its fee; never less than nothing."""
    price = np.int64(market.price[c])
    fee = -(-(rules.taker_rate * price * (DOLLAR - price) * size) // rules.fee_unit) * rules.fee_step
    return max(_own_price(market, side, c) * size - fee, 0)
