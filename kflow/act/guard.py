"""The last look at an order before it is stored and sent: every check in a fixed order, and the first that fails.

Pure: no clock, no I/O, whole numbers. A fact that is missing, or is no whole number, denies; it never lets pass. Sizes
1e-2 contract, prices 1e-4 dollar of the side that is bought (0 YES, 1 NO), money 1e-6 dollar, times µs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from kflow.act.denials import Denial, Reason
from kflow.act.limits import Limits
from kflow.act.orders import Intent
from kflow.act.pace import Paced
from kflow.act.standing import Standing
from kflow.market import limits as shared
from kflow.market.fees import WholeRates
from kflow.market.grid import Grid
from kflow.units import DOLLAR


class Open(NamedTuple):
    """An own order that may still be filled, on its way or resting. `left` is what may be."""

    side: int
    price: int
    left: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that the checks have to know at this moment. What is not said is not known, and denies."""

    # The actor: how it stands in this market, and the epoch of its lease while that is held.
    standing: Standing | None = None
    epoch: int | None = None
    # The market, the venue's time, and its rules. frozen: an order or a fill there waits to be explained.
    market_open: bool | None = None
    frozen: bool | None = None
    now_us: int | None = None
    close_us: int | None = None
    grid: Grid | None = None
    fees: WholeRates | None = None
    # Its book, in YES prices; bid and ask None where nobody quotes. last: of the last trade.
    book_valid: bool | None = None
    book_age_us: int | None = None
    bid: int | None = None
    ask: int | None = None
    last: int | None = None
    # What was decided on and by what. observed_us: its age.
    finite: bool | None = None
    observed_us: int | None = None
    verified: bool | None = None
    # Ours: the market's position (YES positive) and open orders, open orders of all markets, cash that nothing holds
    # back. What could be lost, see `stakes`: in the market, in its event, in all.
    position: int | None = None
    own: Sequence[Open] | None = None
    orders: int | None = None
    cash: int | None = None
    market_risk: int | None = None
    event_risk: int | None = None
    total_risk: int | None = None
    # The day's result so far, open positions at their price, and how far that is below its best of the day.
    today: int | None = None
    drawdown: int | None = None
    pace: Paced | None = None


# True lets pass, False denies, None: it cannot be told.
_Verdict = bool | None
# No bound: for those parts of the shared limits that another check looks at.
_ANY: Final = 2**62


class _Case:
    """An order, and what several checks need of it; None where facts are missing."""

    __slots__ = ("closing", "facts", "fee", "held", "intent", "limits", "own", "sound", "waiting", "yes")

    def __init__(self, intent: Intent, facts: Facts, limits: Limits) -> None:
        self.intent, self.facts, self.limits = intent, facts, limits
        side, price, size, position = intent.side, intent.price, intent.size, facts.position
        self.sound = _whole(side, price, size) and side in (0, 1)
        self.own = _orders(facts.own)
        self.fee: int | None = None
        # What is held of the other side, what open orders may close of it first, what this order then closes.
        self.held = self.waiting = 0
        self.closing: int | None = None
        self.yes = 0
        if not self.sound:
            return
        self.yes = price if side == 0 else DOLLAR - price
        self.fee = _worst_fee(price, size, facts.fees)
        if self.own is not None and position is not None and _whole(position):
            self.held = -position if side == 0 else position
            self.waiting = sum(order.left for order in self.own if order.side == side)
            self.closing = min(max(self.held - self.waiting, 0), size)

    def risks(self, now: int | None, most: int) -> _Verdict:
        """Whether what could be lost stays within a bound. What only closes loses no more, and may pass beyond it."""
        if now is None or self.closing is None or self.fee is None or not _whole(now) or now < 0:
            return None
        opening = self.intent.size - self.closing
        return opening == 0 or now + self.intent.price * opening + self.fee <= most


_INT: Final = {int}


def _allowed(
    *,
    price: int = 1,
    size: int = 1,
    reduce_only: int = 0,
    meets_own: int = 0,
    held: int = 0,
    waiting: int = 0,
    free: int = _ANY,
    fee: int = 0,
    open_orders: int = 0,
    max_order: int = _ANY,
    max_position: int = _ANY,
    max_open: int = 1,
) -> bool:
    """Whether the shared limits let a part of an order pass; what is not named is neutral."""
    return (
        shared.refusal(
            price,
            size,
            reduce_only,
            meets_own,
            held,
            waiting,
            free,
            fee,
            open_orders,
            max_order,
            max_position,
            max_open,
        )
        == shared.ALLOWED
    )


def _whole(*values: object) -> bool:
    # Of exactly this type: no booleans, no NaN, and none of NumPy's, which overflow.
    return set(map(type, values)) == _INT


def _flag(value: bool | None) -> _Verdict:
    return value if type(value) is bool else None


def _within(value: int | None, most: int) -> _Verdict:
    """Of what cannot be below zero."""
    return value <= most if type(value) is int and value >= 0 else None


def _at_least(value: int | None, least: int) -> _Verdict:
    return value >= least if type(value) is int and value >= 0 else None


def _orders(own: Sequence[Open] | None) -> Sequence[Open] | None:
    return own if own is not None and all(_whole(*order) and order.left >= 0 for order in own) else None


def _worst_fee(price: int, size: int, fees: WholeRates | None) -> int | None:
    if fees is None or not _whole(*fees) or fees.unit <= 0:
        return None
    if not 0 < price < DOLLAR:
        return 0  # it is denied for its price
    return shared.worst_fee(price, size, fees.dearer, fees.unit, fees.step, fees.precision)


def _halted(c: _Case) -> _Verdict:
    standing = c.facts.standing
    return standing is not Standing.HALTED if isinstance(standing, Standing) else None


def _reducing(c: _Case) -> _Verdict:
    if c.facts.standing is Standing.ACTIVE:
        return True
    return None if c.closing is None else 0 < c.intent.size == c.closing


def _closing(c: _Case) -> _Verdict:
    now, close = c.facts.now_us, c.facts.close_us
    if now is None or close is None or not _whole(now, close) or close < 0:
        return None
    return close - now >= c.limits.close_us


def _crossed(c: _Case) -> _Verdict:
    bid, ask = c.facts.bid, c.facts.ask
    for quote in (bid, ask):
        if quote is not None and (not _whole(quote) or not 0 < quote < DOLLAR):
            return None
    return bid is None or ask is None or bid < ask


def _size(c: _Case) -> _Verdict:
    return _allowed(size=c.intent.size, max_order=c.limits.order_size) if c.sound else None


def _cost(c: _Case) -> _Verdict:
    return None if c.fee is None else c.intent.price * c.intent.size + c.fee <= c.limits.order_cost


def _tick(c: _Case) -> _Verdict:
    return c.yes in c.facts.grid if isinstance(c.facts.grid, Grid) else None


def _collar(c: _Case) -> _Verdict:
    bid, ask, last, most = c.facts.bid, c.facts.ask, c.facts.last, c.limits.collar
    if bid is not None and ask is not None:
        return abs(2 * c.yes - bid - ask) <= 2 * most
    # Without a middle: near the last trade, and near the side that is quoted.
    if last is None or not _whole(last):
        return None
    return all(abs(c.yes - price) <= most for price in (bid, ask, last) if price is not None)


def _crossing(c: _Case) -> _Verdict:
    bid, ask = c.facts.bid, c.facts.ask
    if c.intent.side == 0:
        return ask is None or c.yes - ask <= c.limits.cross
    return bid is None or bid - c.yes <= c.limits.cross


def _expiry(c: _Case) -> _Verdict:
    expires = c.intent.expires_us
    if c.intent.immediate is True:
        return expires is None
    return _ends(expires, c.facts.now_us, c.limits)


def _ends(expires_us: int | None, now_us: int | None, limits: Limits) -> _Verdict:
    if expires_us is None:
        return False
    if now_us is None or not _whole(now_us, expires_us):
        return None
    return 0 < expires_us - now_us <= limits.order_us


def _nothing_to_close(c: _Case) -> _Verdict:
    if c.intent.reduce_only is False:
        return True
    if c.closing is None:
        return None
    # All of it: the venue knows reduce-only of immediate orders alone.
    return c.closing == c.intent.size and _allowed(reduce_only=1, held=c.held, waiting=c.waiting)


def _position(c: _Case) -> _Verdict:
    if c.closing is None:
        return None
    return _allowed(size=c.intent.size, held=c.held, waiting=c.waiting, max_position=c.limits.market_size)


def _cash(c: _Case) -> _Verdict:
    intent, free = c.intent, c.facts.cash
    if free is None or c.closing is None or c.fee is None or not _whole(free):
        return None
    return _allowed(price=intent.price, size=intent.size, held=c.held, waiting=c.waiting, free=free, fee=c.fee)


def _open_orders(c: _Case) -> _Verdict:
    return None if c.own is None else _allowed(open_orders=len(c.own), max_open=c.limits.market_orders)


def _own_order(c: _Case) -> _Verdict:
    if c.own is None:
        return None
    side, price = c.intent.side, c.intent.price
    return _allowed(meets_own=int(any(order.side != side and order.price + price >= DOLLAR for order in c.own)))


def _loss(c: _Case) -> _Verdict:
    today = c.facts.today
    return None if today is None or not _whole(today) else -today <= c.limits.daily_loss


def _lease(c: _Case) -> _Verdict:
    return _ours(c.intent, c.facts.epoch)


def _ours(intent: Intent, epoch: int | None) -> _Verdict:
    return None if epoch is None or not _whole(epoch) else intent.epoch == epoch


def _paced(place: int, verdict: Callable[[int | None, Limits], _Verdict]) -> Callable[[_Case], _Verdict]:
    """A check of one number of `Paced`."""
    return lambda c: None if c.facts.pace is None else verdict(c.facts.pace[place], c.limits)


_GATES: Final[Mapping[Reason, Callable[[_Case], _Verdict]]] = {
    Reason.HALTED: _halted,
    Reason.REDUCING: _reducing,
    Reason.MARKET_CLOSED: lambda c: _flag(c.facts.market_open),
    Reason.FROZEN: lambda c: None if type(c.facts.frozen) is not bool else not c.facts.frozen,
    Reason.CLOSING: _closing,
    Reason.BOOK_INVALID: lambda c: _flag(c.facts.book_valid),
    Reason.BOOK_OLD: lambda c: _within(c.facts.book_age_us, c.limits.book_us),
    Reason.BOOK_CROSSED: _crossed,
    Reason.OBSERVATION: lambda c: _flag(c.facts.finite),
    Reason.OBSERVATION_OLD: lambda c: _within(c.facts.observed_us, c.limits.book_us),
    Reason.MODEL: lambda c: _flag(c.facts.verified),
    Reason.SIZE: _size,
    Reason.COST: _cost,
    Reason.PRICE: lambda c: _allowed(price=c.intent.price),
    Reason.TICK: _tick,
    Reason.COLLAR: _collar,
    Reason.CROSSING: _crossing,
    Reason.EXPIRY: _expiry,
    Reason.NOTHING_TO_CLOSE: _nothing_to_close,
    Reason.POSITION: _position,
    Reason.MARKET_RISK: lambda c: c.risks(c.facts.market_risk, c.limits.market_risk),
    Reason.EVENT_RISK: lambda c: c.risks(c.facts.event_risk, c.limits.event_risk),
    Reason.TOTAL_RISK: lambda c: c.risks(c.facts.total_risk, c.limits.total_risk),
    Reason.CASH: _cash,
    Reason.OPEN_ORDERS: _open_orders,
    Reason.ALL_ORDERS: lambda c: _within(c.facts.orders, c.limits.total_orders - 1),
    Reason.DUPLICATE: _paced(1, lambda same_us, limits: _at_least(same_us, limits.duplicate_us)),
    Reason.OWN_ORDER: _own_order,
    Reason.THROTTLE: _paced(0, lambda waited_us, limits: _at_least(waited_us, limits.throttle_us)),
    Reason.BUCKET: _paced(2, lambda tokens, _: _at_least(tokens, 1)),
    Reason.FILLS: _paced(3, lambda fills, limits: _within(fills, limits.fills_per_minute - 1)),
    Reason.DAILY_LOSS: _loss,
    Reason.DRAWDOWN: lambda c: _within(c.facts.drawdown, c.limits.drawdown),
    Reason.LIMITS: lambda c: c.intent.limits == c.limits.sha256,
    Reason.LEASE: _lease,
}
_CHECKS: Final = tuple(_GATES.items())


def check(intent: Intent, facts: Facts, limits: Limits) -> Denial | None:
    """Whether an order may leave: None, or the first check, in the order of `Reason`, that denies it."""
    case = _Case(intent, facts, limits)
    for reason, gate in _CHECKS:
        verdict = gate(case)
        if verdict is not True:
            return Denial(reason, unknown=verdict is None)
    return None


def check_renewal(
    intent: Intent, expires_us: int, *, standing: Standing | None, now_us: int | None, epoch: int | None, limits: Limits
) -> Denial | None:
    """Whether an order that rests may live longer, else unchanged: unless halted, for so long, under our lease."""
    halted = standing is not Standing.HALTED if isinstance(standing, Standing) else None
    for reason, verdict in (
        (Reason.HALTED, halted),
        (Reason.EXPIRY, _ends(expires_us, now_us, limits)),
        (Reason.LEASE, _ours(intent, epoch)),
    ):
        if verdict is not True:
            return Denial(reason, unknown=verdict is None)
    return None


def check_cancel() -> Denial | None:
    """Whether orders may be cancelled: always, whatever else is denied."""
    return None
