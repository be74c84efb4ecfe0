"""How near the simulator comes to what happened: who was taken, how much was filled, at which price, how soon."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from kflow.evaluate.parity.bridge import TERMS, Bridge, Parity
from kflow.evaluate.parity.log import Fill
from kflow.evaluate.parity.play import Simulated
from kflow.sim.orders import REASONS
from kflow.units import CONTRACT, Money, Size, format_money, format_size

# The simulator's two answers: as it is used, and at the moments at which things really reached the venue.
WAYS: Final = ("assumed", "timed")


class Agreement(NamedTuple):
    """Orders that both sides took or both refused, at the moments at which they really arrived."""

    orders: int  # that the recording covers
    alike: int
    refused: int  # by the venue
    refused_simulated: int

    @property
    def share(self) -> float | None:
        return self.alike / self.orders if self.orders else None


def agreement(bridge: Bridge) -> Agreement:
    known = [order for order in bridge.orders if order.timed is not None]
    return Agreement(
        orders=len(known),
        alike=sum(bool(order.alike) for order in known),
        refused=sum(order.order.refused is not None for order in known),
        refused_simulated=sum(order.timed is not None and order.timed.refused for order in known),
    )


def aggressive(order: Parity) -> bool:
    """Whether it met the other side when it arrived, really or in the simulator."""
    crossed = order.timed is not None and order.timed.crossed
    return crossed or any(fill.taker and fill.us == order.order.us for fill in order.order.fills)


def fill_errors(bridge: Bridge) -> list[dict[str, Any]]:
    """Simulated less real, of passive and of aggressive orders that both sides took, for each of WAYS.

    filled, filled_simulated: contracts, as shares of what was asked. vwap_ticks: of orders that both filled, weighed by
    real contracts; positive where the simulator pays more. to_fill_s: to the first fill, of the same; with the mean of
    the absolute difference beside each. None: no order tells.
    """
    taken = [order for order in bridge.orders if order.alike and order.order.refused is None]
    kinds = {
        "passive": [order for order in taken if not aggressive(order)],
        "aggressive": [order for order in taken if aggressive(order)],
    }
    return [{"orders_are": kind, "way": way, **_errors(chosen, way)} for kind, chosen in kinds.items() for way in WAYS]


def _answer(order: Parity, way: str) -> Simulated:
    answer: Simulated | None = getattr(order, way)
    assert answer is not None
    return answer


def _errors(orders: Sequence[Parity], way: str) -> dict[str, Any]:
    asked = sum(order.order.size for order in orders)
    real = sum(_size(order.within) for order in orders)
    simulated = sum(_answer(order, way).got for order in orders)
    both = [(order, _answer(order, way)) for order in orders if order.within and _answer(order, way).fills]
    weights = [_size(order.within) for order, _ in both]
    ticks = [(_vwap(answer.fills) - _vwap(order.within)) / order.tick for order, answer in both]
    seconds = [
        ((answer.fills[0].us - answer.arrives_us) - (order.within[0].us - order.order.us)) / 1e6
        for order, answer in both
    ]
    return {
        "orders": len(orders),
        "filled": real / asked if asked else None,
        "filled_simulated": simulated / asked if asked else None,
        "filled_error": (simulated - real) / asked if asked else None,
        "both_filled": len(both),
        "vwap_ticks": _mean(ticks, weights),
        "vwap_ticks_absolute": _mean([abs(each) for each in ticks], weights),
        "to_fill_s": _mean(seconds),
        "to_fill_s_absolute": _mean([abs(each) for each in seconds]),
    }


def _size(fills: Iterable[Fill]) -> int:
    return sum(fill.size for fill in fills)


def _vwap(fills: Sequence[Fill]) -> float:
    return sum(fill.size * fill.price for fill in fills) / _size(fills)


def _mean(values: Sequence[float], weights: Sequence[int] | None = None) -> float | None:
    return float(np.average(values, weights=weights)) if values else None


# In words.


def explained(order: Parity) -> str:
    """Why an order earned otherwise than simulated: the parts that are not nothing, the largest first."""
    parts: dict[str, Callable[[Parity], str]] = {
        "latency": _of_latency,
        "queue": _of_queue,
        "refusals": _of_refusals,
        "fees": _of_fees,
        "gaps": _of_gaps,
    }
    told = sorted(((getattr(order, term), say) for term, say in parts.items()), key=lambda part: -abs(part[0]))
    return "; ".join(f"{_signed(money)} {say(order)}" for money, say in told if money) or "no difference"


def _of_latency(order: Parity) -> str:
    assumed, timed = _answer(order, "assumed"), _answer(order, "timed")
    late = (order.order.us - assumed.arrives_us) / 1000
    when = f"arrived {abs(late):.1f} ms {'later' if late >= 0 else 'sooner'} than assumed"
    if late == 0:
        when = "what it met was moved by the other orders' times"
    return f"{when}: {_contracts(timed.got)} simulated instead of {_contracts(assumed.got)}"


def _of_queue(order: Parity) -> str:
    timed = _answer(order, "timed")
    told = f"really filled {_contracts(_size(order.within))}, simulated {_contracts(timed.got)}"
    if timed.rested:
        left = f", {_contracts(timed.ahead_last)} when it was over" if timed.ahead_last >= 0 else ""
        told += f": {_contracts(timed.ahead)} ahead when it came to rest{left}"
    return told


def _of_refusals(order: Parity) -> str:
    timed = _answer(order, "timed")
    if order.order.refused is not None:
        return f"the venue refused it ({order.order.refused}), the simulator did not"
    if order.order.dead_on_arrival:
        return "the venue ended it as it arrived, the simulator did not"
    return f"the simulator refused it ({REASONS.get(timed.reason, 'it never came')}), the venue did not"


def _of_fees(order: Parity) -> str:
    charged = Money(sum(fill.fee for fill in order.within))
    return f"fees of ${format_money(charged)} were charged, ${format_money(Money(charged + order.fees))} expected"


def _of_gaps(order: Parity) -> str:
    return order.why_not or "filled when its market was no longer recorded"


def _contracts(size: int) -> str:
    return format_size(Size(size)).removesuffix(".00")


def _signed(money: int) -> str:
    return ("+" if money >= 0 else "-") + "$" + format_money(Money(abs(money)))


def worst(bridge: Bridge, count: int) -> list[Parity]:
    """Orders that differ most from what was simulated."""
    differing = [order for order in bridge.orders if order.live != order.simulated]
    return sorted(differing, key=lambda order: -abs(order.live - order.simulated))[:count]


def residual_words(bridge: Bridge) -> str:
    """What a residual means."""
    if not bridge.residual:
        return "the venue's cash and positions are what its fills come to, to the micro-dollar"
    told = f"{_signed(bridge.residual)} of the venue's own P&L comes from no fill of this log"
    return told + "".join(f"; {each}" for each in bridge.disagreements)


# For programs.


def document(bridge: Bridge) -> dict[str, Any]:
    """All of it as plain JSON; money as whole micro-dollars (`_e6`)."""
    found = agreement(bridge)
    return {
        "kind": "parity",
        "bridge": {
            "live_e6": bridge.live,
            **{f"{term}_e6": bridge.sum(term) for term in TERMS},
            "residual_e6": bridge.residual,
        },
        "words": residual_words(bridge),
        "disagreements": bridge.disagreements,
        "agreement": {**found._asdict(), "share": found.share},
        "fills": fill_errors(bridge),
        "markets": _markets(bridge),
        "own_orders": {
            "in_book": bridge.in_book,
            "expected": bridge.seen[0],
            "found": bridge.seen[1],
        },
        "not_simulated": _why_not(bridge),
        "sending_not_told": bridge.untold,
    }


def _markets(bridge: Bridge) -> list[dict[str, Any]]:
    found = []
    for market, worth in bridge.worths.items():
        mine = [order for order in bridge.orders if order.order.market == market]
        terms = {f"{term}_e6": sum(getattr(order, term) for order in mine) for term in TERMS}
        told = {"market": market, "orders": len(mine), "worth": worth.value / 10_000, "worth_by": worth.by}
        found.append({**told, "live_e6": sum(order.live for order in mine), **terms})
    return found


def _why_not(bridge: Bridge) -> dict[str, int]:
    reasons = [order.why_not for order in bridge.orders if order.why_not is not None]
    return {why: reasons.count(why) for why in sorted(set(reasons))}


def order_line(order: Parity) -> dict[str, Any]:
    """One order, flat."""
    sent, answers = order.order, (order.assumed, order.timed)
    return {
        "order_id": sent.order,
        "market": sent.market,
        "side": ("yes", "no")[sent.side],
        "price": sent.price / 10_000,
        "contracts": sent.size / CONTRACT,
        "us": sent.us,
        "aggressive": aggressive(order),
        "refused": sent.refused,
        "simulated_refused": None if order.timed is None else order.timed.refused,
        "alike": order.alike,
        "filled": sent.got / CONTRACT,
        "filled_assumed": None if answers[0] is None else answers[0].got / CONTRACT,
        "filled_timed": None if answers[1] is None else answers[1].got / CONTRACT,
        "live_e6": order.live,
        **{f"{term}_e6": getattr(order, term) for term in TERMS},
        "why": explained(order) if order.live != order.simulated else None,
    }
