"""What a policy sees: numbers in [-1, 1], the same in training and before the venue. One by one in docs/policy.md.

Three functions of whole numbers, floats and one-dimensional sequences: `observe` takes in one change of the book,
`encode_market` and `encode_own` write what is seen at a moment. Batches compile them with numba, the actor runs the
same source on lists, and both give the same bits. Nothing is learnt from data: scaling is fixed here, and `SCHEMA`
names it.

Prices 1e-4 dollar on the YES axis, sizes 1e-2 contract, times µs of the venue. An absent bid counts as a price of 0
and an absent ask as $1: those are what the contract is worth at least and at most.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol


class Floats(Protocol):
    """A sequence of floats that can be written to."""

    def __getitem__(self, at: int, /) -> float: ...
    def __setitem__(self, at: int, value: float, /) -> None: ...
    def __len__(self) -> int: ...


class Feature(NamedTuple):
    """One number of an observation. `unit`: of what is scaled."""

    name: str
    unit: str
    low: float
    high: float
    formula: str


# log(a, b) below is ln(1 + a) / ln(1 + b), no more than 1; of a negative number its mirror image. E[tau] is a sum in
# which what lies s seconds back counts exp(-s / tau). mid = (bid + ask) / 2; q_b, q_a: sizes at the touch.
MARKET: Final = (
    Feature("mid", "probability", 0, 1, "(bid + ask) / 2"),
    Feature("spread", "dollar", -1, 1, "(ask - bid) / 0.10; below 0 where the book is crossed"),
    Feature("sides", "flag", -1, 1, "-1 nobody bids, +1 nobody offers, else 0"),
    Feature(
        "micro",
        "dollar",
        -1,
        1,
        "(P - mid) / 0.05; P: VWAPs of the best 3 levels within $0.10, weighed by the other's size",
    ),
    Feature("imbalance", "ratio", -1, 1, "(q_b - q_a) / (q_b + q_a)"),
    Feature("imbalance_2c", "ratio", -1, 1, "the same of all within $0.02 of the touch"),
    Feature("imbalance_10c", "ratio", -1, 1, "the same of all within $0.10 of the touch"),
    Feature("bid_size", "contracts", 0, 1, "log(q_b, 100 000)"),
    Feature("ask_size", "contracts", 0, 1, "log(q_a, 100 000)"),
    Feature("bid_depth", "contracts", 0, 1, "log(bids within $0.10 of the touch, 1 000 000)"),
    Feature("ask_depth", "contracts", 0, 1, "log(asks within $0.10 of the touch, 1 000 000)"),
    Feature("bid_gap", "dollar", 0, 1, "(best - second best bid) / 0.05, no more than 1; 1 where there is none"),
    Feature("ask_gap", "dollar", 0, 1, "(second best - best ask) / 0.05, no more than 1; 1 where there is none"),
    Feature("buy_impact", "dollar", 0, 1, "(VWAP of buying 250 - ask) / 0.05; 1 where $0.10 of depth hold less"),
    Feature("sell_impact", "dollar", 0, 1, "(bid - VWAP of selling 250) / 0.05; 1 where $0.10 of depth hold less"),
    Feature("tick", "dollar", 0, 1, "tick at the touch / 0.01"),
    Feature("flow_1s", "contracts", -1, 1, "log(E[1] of contracts takers bought less those they sold, 10 000)"),
    Feature("flow_10s", "contracts", -1, 1, "the same with E[10]"),
    Feature("flow_60s", "contracts", -1, 1, "the same with E[60]"),
    Feature("trades_10s", "trades", 0, 1, "log(E[10] of trades, 1 000)"),
    Feature("trades_60s", "trades", 0, 1, "log(E[60] of trades, 10 000)"),
    Feature("changes_10s", "changes", 0, 1, "log(E[10] of changes of the book, 10 000)"),
    Feature(
        "pressure_10s", "contracts", -1, 1, "log(E[10] of order flow imbalance, 100 000); Cont, Kukanov, Stoikov 2014"
    ),
    Feature("volatility_10s", "dollar", 0, 1, "sqrt(E[10] of squared moves of mid / 10) / 0.05"),
    Feature("volatility_60s", "dollar", 0, 1, "sqrt(E[60] of squared moves of mid / 60) / 0.05"),
    Feature("return_1s", "dollar", -1, 1, "(mid - mean of mid weighed by exp(-s / 1)) / 0.05"),
    Feature("return_10s", "dollar", -1, 1, "the same with 10 s, / 0.10"),
    Feature("return_60s", "dollar", -1, 1, "the same with 60 s, / 0.20"),
    Feature("silence", "second", 0, 1, "log(time since the book changed, 60)"),
    Feature("closes_in", "second", -1, 1, "log(time to the close, 604 800); -1 where it is not known"),
    Feature("closes_soon", "second", 0, 1, "exp(-time to the close / 60); 0 where it is not known"),
    Feature("fee", "dollar", 0, 1, "taker's fee of a contract at mid, not rounded, / 0.02"),
)
OWN: Final = (
    Feature("position", "contracts", -1, 1, "position / largest allowed; NO is negative"),
    Feature("profit", "dollar", -1, 1, "(equity - cash at the start) / cash at the start"),
    Feature("free_cash", "dollar", 0, 1, "cash that no order holds back / cash at the start"),
    Feature("yes_open", "contracts", 0, 1, "left of own orders to buy YES / largest order"),
    Feature("yes_distance", "dollar", -1, 1, "(bid - best own price) / 0.05; 1 where there is none"),
    Feature("yes_ahead", "contracts", 0, 1, "log(queue ahead of the best own order, 100 000); 1 where there is none"),
    Feature("yes_age", "second", 0, 1, "age of the best own order / 60; 0 where there is none"),
    Feature("no_open", "contracts", 0, 1, "left of own orders to buy NO / largest order"),
    Feature("no_distance", "dollar", -1, 1, "(own ask - ask) / 0.05; 1 where there is none"),
    Feature("no_ahead", "contracts", 0, 1, "log(queue ahead of the best own order, 100 000); 1 where there is none"),
    Feature("no_age", "second", 0, 1, "age of the best own order / 60; 0 where there is none"),
)
FEATURES: Final = MARKET + OWN
# Rises when a formula's code changes while its words stay.
_REVISION: Final = 1
SCHEMA: Final = hashlib.sha256(repr((_REVISION, tuple(map(tuple, FEATURES)))).encode()).hexdigest()[:16]

# Cells of the memory that `observe` keeps.
AT, FLOW_1, FLOW_10, FLOW_60, TRADES_10, TRADES_60, CHANGES_10, PRESSURE_10, MOVES_10, MOVES_60 = range(10)
MEAN_1, MEAN_10, MEAN_60, BID, BID_SIZE, ASK, ASK_SIZE = range(10, 17)
MEMORY: Final = 17

_DOLLAR: Final = 10_000
_CENT: Final = 100
_CONTRACT: Final = 100.0
# Contracts whose impact is looked at, 1e-2.
_IMPACT: Final = 25_000


def begin(memory: Floats, now_us: int, bid: int, bid_size: int, ask: int, ask_size: int) -> None:
    """Forget all; what follows is a book without a gap. Prices 0 and _DOLLAR, sizes 0, where nobody quotes."""
    for cell in range(17):
        memory[cell] = 0.0
    mid = (bid + ask) / 20_000.0
    memory[AT] = now_us
    memory[MEAN_1] = memory[MEAN_10] = memory[MEAN_60] = mid
    memory[BID], memory[BID_SIZE] = bid, bid_size
    memory[ASK], memory[ASK_SIZE] = ask, ask_size


def observe(
    memory: Floats, now_us: int, bought: int, sold: int, trades: int, bid: int, bid_size: int, ask: int, ask_size: int
) -> None:
    """Take in all that happened in one µs of the venue: contracts takers bought and sold, and the touch after it."""
    seconds = max(now_us - memory[AT], 0.0) / 1e6
    one, ten, sixty = math.exp(-seconds), math.exp(-seconds / 10.0), math.exp(-seconds / 60.0)
    was_bid, was_ask = memory[BID], memory[ASK]
    was = (was_bid + was_ask) / 20_000.0
    mid = (bid + ask) / 20_000.0
    flow = (bought - sold) / 100.0
    pressure = 0.0
    if bid >= was_bid:
        pressure += bid_size
    if bid <= was_bid:
        pressure -= memory[BID_SIZE]
    if ask <= was_ask:
        pressure -= ask_size
    if ask >= was_ask:
        pressure += memory[ASK_SIZE]
    moved = (mid - was) * (mid - was)
    memory[FLOW_1] = memory[FLOW_1] * one + flow
    memory[FLOW_10] = memory[FLOW_10] * ten + flow
    memory[FLOW_60] = memory[FLOW_60] * sixty + flow
    memory[TRADES_10] = memory[TRADES_10] * ten + trades
    memory[TRADES_60] = memory[TRADES_60] * sixty + trades
    memory[CHANGES_10] = memory[CHANGES_10] * ten + 1.0
    memory[PRESSURE_10] = memory[PRESSURE_10] * ten + pressure / 100.0
    memory[MOVES_10] = memory[MOVES_10] * ten + moved
    memory[MOVES_60] = memory[MOVES_60] * sixty + moved
    memory[MEAN_1] = was + (memory[MEAN_1] - was) * one
    memory[MEAN_10] = was + (memory[MEAN_10] - was) * ten
    memory[MEAN_60] = was + (memory[MEAN_60] - was) * sixty
    memory[AT] = now_us
    memory[BID], memory[BID_SIZE] = bid, bid_size
    memory[ASK], memory[ASK_SIZE] = ask, ask_size


def _log(value: float, most: float) -> float:
    """ln(1 + |value|) / ln(1 + most) with the sign of `value`, within [-1, 1]."""
    if value < 0.0:
        return -min(math.log1p(-value) / math.log1p(most), 1.0)
    return min(math.log1p(value) / math.log1p(most), 1.0)


def _within(value: float) -> float:
    return min(max(value, -1.0), 1.0)


def _lean(left: float, right: float) -> float:
    return (left - right) / (left + right) if left + right > 0.0 else 0.0


def _side(levels: Sequence[int], price: Sequence[int], best: int, toward: int, columns: int, found: Floats) -> None:
    """Look at a side down from its touch: fills `found`.

    [0] contracts within 2 cents, [1] within 10 cents, [2] dollars to the second level (-1: none), [3] dollars that
    250 contracts cost beyond the touch each (-1: not there), [4] VWAP and [5] contracts of the best three levels.
    """
    for cell in range(6):
        found[cell] = 0.0
    found[2] = found[3] = -1.0
    if 0 <= best < columns:
        _first_levels(levels, price, best, toward, columns, found)
        _depth(levels, price, best, toward, columns, found)


def _first_levels(
    levels: Sequence[int], price: Sequence[int], best: int, toward: int, columns: int, found: Floats
) -> None:
    """The three best levels, the third no farther away than 10 cents."""
    column, seen, contracts, value, top = best, 0, 0, 0, price[best]
    while 0 <= column < columns and seen < 3:
        away = (price[column] - top) * toward
        if seen == 2 and away > 10 * _CENT:
            break
        size = levels[column]
        if size > 0:
            if seen == 1:
                found[2] = away / 10_000.0
            seen += 1
            contracts += size
            value += size * price[column]
        column += toward
    found[4] = value / contracts / 10_000.0
    found[5] = contracts / _CONTRACT


def _depth(levels: Sequence[int], price: Sequence[int], best: int, toward: int, columns: int, found: Floats) -> None:
    """How much stands within 2 and 10 cents, and what it costs to walk it."""
    column, near, deep, cost, left, top = best, 0, 0, 0, _IMPACT, price[best]
    while 0 <= column < columns:
        away = (price[column] - top) * toward
        if away > 10 * _CENT:
            break
        size = levels[column]
        deep += size
        if away <= 2 * _CENT:
            near += size
        if left > 0:
            part = min(size, left)
            left -= part
            cost += part * away
        column += toward
    found[0], found[1] = near / _CONTRACT, deep / _CONTRACT
    if left == 0:
        found[3] = cost / _IMPACT / 10_000.0


def encode_market(
    memory: Floats,
    now_us: int,
    bids: Sequence[int],
    asks: Sequence[int],
    price: Sequence[int],
    bid: int,
    ask: int,
    close_us: int,
    taker_rate: float,
    found: Floats,
    out: Floats,
) -> None:
    """Write the market's features [len(MARKET)] to the front of `out`.

    bids, asks, price: [C] sizes by column and the YES price of each. bid, ask: columns of the touch; outside of [0, C)
    where nobody quotes. close_us: -1 where it is not known. taker_rate: of the fee formula rate * p * (1 - p).
    found: room for 6 floats.
    """
    columns = len(price)
    has_bid, has_ask = 0 <= bid < columns, 0 <= ask < columns
    low = price[bid] / 10_000.0 if has_bid else 0.0
    high = price[ask] / 10_000.0 if has_ask else 1.0
    mid = (low + high) / 2.0
    q_bid = bids[bid] / _CONTRACT if has_bid else 0.0
    q_ask = asks[ask] / _CONTRACT if has_ask else 0.0
    out[0] = mid
    out[1] = _within((high - low) / 0.10)
    out[2] = (0.0 if has_ask else 1.0) - (0.0 if has_bid else 1.0)
    _side(asks, price, ask, 1, columns, found)
    near_ask, deep_ask, gap_ask, buy, vwap_ask, top_ask = found[0], found[1], found[2], found[3], found[4], found[5]
    _side(bids, price, bid, -1, columns, found)
    near_bid, deep_bid, gap_bid, sell, vwap_bid, top_bid = found[0], found[1], found[2], found[3], found[4], found[5]
    out[3] = 0.0
    if has_bid and has_ask:
        out[3] = _within(((vwap_bid * top_ask + vwap_ask * top_bid) / (top_bid + top_ask) - mid) / 0.05)
    out[4] = _lean(q_bid, q_ask)
    out[5] = _lean(near_bid, near_ask)
    out[6] = _lean(deep_bid, deep_ask)
    out[7] = _log(q_bid, 100_000.0)
    out[8] = _log(q_ask, 100_000.0)
    out[9] = _log(deep_bid, 1_000_000.0)
    out[10] = _log(deep_ask, 1_000_000.0)
    out[11] = min(gap_bid / 0.05, 1.0) if gap_bid >= 0.0 else 1.0
    out[12] = min(gap_ask / 0.05, 1.0) if gap_ask >= 0.0 else 1.0
    out[13] = min(buy / 0.05, 1.0) if buy >= 0.0 else 1.0
    out[14] = min(sell / 0.05, 1.0) if sell >= 0.0 else 1.0
    at = bid if has_bid else ask if has_ask else 0
    above = min(at + 1, columns - 1)
    out[15] = min((price[above] - price[above - 1]) / 100.0, 1.0)
    _encode_memory(memory, now_us, mid, out)
    if close_us < 0:
        out[29], out[30] = -1.0, 0.0
    else:
        left = max(close_us - now_us, 0) / 1e6
        out[29] = _log(left, 604_800.0)
        out[30] = math.exp(-left / 60.0)
    out[31] = min(taker_rate * mid * (1.0 - mid) / 0.02, 1.0)


def _encode_memory(memory: Floats, now_us: int, mid: float, out: Floats) -> None:
    """What `observe` remembers, as of now: features 16 to 28."""
    seconds = max(now_us - memory[AT], 0.0) / 1e6
    one, ten, sixty = math.exp(-seconds), math.exp(-seconds / 10.0), math.exp(-seconds / 60.0)
    out[16] = _log(memory[FLOW_1] * one, 10_000.0)
    out[17] = _log(memory[FLOW_10] * ten, 10_000.0)
    out[18] = _log(memory[FLOW_60] * sixty, 10_000.0)
    out[19] = _log(memory[TRADES_10] * ten, 1_000.0)
    out[20] = _log(memory[TRADES_60] * sixty, 10_000.0)
    out[21] = _log(memory[CHANGES_10] * ten, 10_000.0)
    out[22] = _log(memory[PRESSURE_10] * ten, 100_000.0)
    out[23] = min(math.sqrt(memory[MOVES_10] * ten / 10.0) / 0.05, 1.0)
    out[24] = min(math.sqrt(memory[MOVES_60] * sixty / 60.0) / 0.05, 1.0)
    out[25] = _within((mid - (mid + (memory[MEAN_1] - mid) * one)) / 0.05)
    out[26] = _within((mid - (mid + (memory[MEAN_10] - mid) * ten)) / 0.10)
    out[27] = _within((mid - (mid + (memory[MEAN_60] - mid) * sixty)) / 0.20)
    out[28] = _log(seconds, 60.0)


def encode_own(
    position: int,
    equity: int,
    free: int,
    cash: int,
    max_position: int,
    max_order: int,
    price: Sequence[int],
    bid: int,
    ask: int,
    orders: Sequence[int],
    count: int,
    out: Floats,
    at: int,
) -> None:
    """Write what a policy has itself [len(OWN)] to `out`, from `at` on.

    equity, free, cash: at the market's liquidation price, not held back, at the start; 1e-6 dollar. orders: of each of
    `count` open orders five numbers: side, column, contracts left, queue ahead of it, age in µs.
    """
    columns = len(price)
    out[at] = _within(position / max_position)
    out[at + 1] = _within((equity - cash) / cash)
    out[at + 2] = min(max(free / cash, 0.0), 1.0)
    for side in range(2):
        left, best = 0, -1
        for n in range(count):
            if orders[5 * n] == side:
                left += orders[5 * n + 2]
                c = orders[5 * n + 1]
                if best < 0 or (c > orders[5 * best + 1] if side == 0 else c < orders[5 * best + 1]):
                    best = n
        to = at + 3 + 4 * side
        out[to] = min(left / max_order, 1.0)
        out[to + 1] = out[to + 2] = 1.0
        out[to + 3] = 0.0
        if best >= 0:
            mine = price[orders[5 * best + 1]]
            touch = bid if side == 0 else ask
            quoted = price[touch] if 0 <= touch < columns else (0 if side == 0 else _DOLLAR)
            away = quoted - mine if side == 0 else mine - quoted
            out[to + 1] = _within(away / 500.0)
            out[to + 2] = _log(orders[5 * best + 3] / _CONTRACT, 100_000.0)
            out[to + 3] = min(orders[5 * best + 4] / 60e6, 1.0)
