"""What a market is worth, which nobody sees: a martingale that ends as the market's result.

Why nobody earns from a synthetic crowd, before fees. Let m be the belief, B and A the best prices of the whole book.
Participants keep three rules:

1. Nobody of the crowd bids above m or offers below it. News moves m up or down with probabilities that keep its mean,
   and quotes that it passes are taken back in the same moment, before anybody can meet them.
2. While B < m < A, a taker buys with probability (m - B)/(A - B) and sells otherwise. After a buy m is A on average:
   either it stays, for the taker knew nothing, or it goes d beyond A, with probability (A - m)/(A - m + d). After a
   sell it is B on average. So m keeps its mean, and what is traded is worth its price (the market maker without profit
   of Glosten and Milgrom). What a taker knows does not show in how much he takes, and he stays within one level.
3. Orders of others only lie in the way. A bid at or above m is sold into, an offer at or below m is bought, with m as
   it is; what others take moves nothing. Of others' orders the crowd meets only those that are best.

The result is drawn from m at the close. So whatever is filled for somebody else, the result's mean, given all that has
happened, is m after that fill: on average no more than the price where they bought (they took at an A >= m, or a taker
sold to them at B, or m lay below their bid), no less where they sold. Each fill earns nothing or less on average, and
so does any sum of them, whatever their strategy sees of the past, m itself included. For fills among the crowd it is
zero exactly.

An `Edge` breaks one rule on purpose, for tests that have to find it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from kflow.market.events import Side
from kflow.units import DOLLAR


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """A planted way to earn. `FAIR` has none."""

    # Share of takers that know nothing: they buy or sell by the toss of a coin and m stays. Makers earn.
    uninformed: float = 0.0
    # Cents by which news may pass quotes that are not taken back at once. Whoever takes those earns.
    stale_cents: float = 0.0
    # Added to m, in dollars, when the result is drawn. Buyers of YES earn where it is positive.
    bias: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.uninformed <= 1 and self.stale_cents >= 0 and -1 <= self.bias <= 1):
            raise ValueError(f"edges beyond what they can be: {self}")


FAIR: Final = Edge()


class Belief:
    """One market's m, in units of Price: 5600.0 is $0.56."""

    __slots__ = ("_high", "_low", "value")

    def __init__(self, probability: float, least: float) -> None:
        """`least`, in units of Price: m comes no nearer to 0 or $1. Raises ValueError if `probability` is nearer."""
        self._low: Final = least
        self._high: Final = DOLLAR - least
        self.value = probability * DOLLAR
        if not 0 < self._low <= self.value <= self._high:
            raise ValueError(f"a market starts undecided, not at {probability}")

    def news(self, step: float, uniform: float) -> None:
        """Move by `step` up or down, less where an end is nearer."""
        step = min(step, self.value - self._low, self._high - self.value)
        self.value += step if uniform < 0.5 else -step

    def trade(self, bid: float, ask: float, beyond: float, uniforms: tuple[float, float]) -> Side:
        """What a taker buys, YES at `ask` or NO at `bid`; m becomes that price on average, if it lies between them.

        `beyond`: how far past the price m goes where the taker knew, less where an end is near.
        """
        value = self.value
        if value >= ask:
            return Side.YES
        if value <= bid:
            return Side.NO
        whether, which = uniforms
        if whether * (ask - bid) < value - bid:
            beyond = max(0.0, min(beyond, self._high - ask))
            if which * (ask - value + beyond) < ask - value:
                self.value = ask + beyond
            return Side.YES
        beyond = max(0.0, min(beyond, bid - self._low))
        if which * (value - bid + beyond) < value - bid:
            self.value = bid - beyond
        return Side.NO

    def settle(self, uniform: float, bias: float = 0.0) -> Side:
        """The result: YES with the probability that m says."""
        return Side.YES if uniform < self.value / DOLLAR + bias else Side.NO


def urgency(seconds_left: float, life_s: float) -> float:
    """How much more m varies per second than `life_s` before the close: as the price of a digital option does.

    The variance of that price rises as the time left falls; here no further than when a thirtieth is left.
    """
    return life_s / min(max(seconds_left, life_s / 30), life_s)
