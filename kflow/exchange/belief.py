"""What a market is worth, which nobody sees: a martingale that ends as the market's result.

Why nobody earns from a synthetic crowd, before fees. Let m be the belief and B <= m <= A at first, B and A the best
prices of the whole book. Participants keep three rules:

1. News moves m to one of two prices with probabilities that keep its mean, never beyond the crowd's own best quotes;
   and the crowd never bids above m nor offers below it.
2. A taker of the crowd buys with probability (m - B)/(A - B) and sells otherwise. A buy makes m = A, a sell m = B: the
   mean is kept, and m after a trade is the price of that trade (Glosten and Milgrom's market maker of no profit). A
   taker stays within one level.
3. Orders of others only lie in the way. A bid above m is sold into with m as it is, an offer below m is bought; what
   others take moves nothing. Of others' orders the crowd meets only those that are best.

The result is drawn from m at the close. So whatever is filled for somebody else, E[result | all that has happened] is
m after that fill: no more than the price where they bought (they took at an A >= m, or their bid was met with m at or
below it), no less where they sold. Each fill earns nothing or less, and so does any sum of them, whatever their
strategy sees of the past, m itself included. For the crowd's own orders it is zero exactly: m equals the price.

An `Edge` breaks one rule on purpose, for tests that have to find it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from kflow.market.events import Side
from kflow.units import DOLLAR


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """A planted way to earn. `FAIR` has none."""

    # Share of takers that know nothing: they buy or sell by the toss of a coin and m stays. Makers earn.
    uninformed: float = 0.0
    # Cents by which news may carry m beyond quotes that are not pulled yet. Whoever takes those earns.
    stale_cents: float = 0.0
    # Added to m, in dollars, when the result is drawn. Buyers of YES earn where it is positive.
    bias: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.uninformed <= 1 and self.stale_cents >= 0 and -1 <= self.bias <= 1):
            raise ValueError(f"edges beyond what they can be: {self}")


FAIR: Final = Edge()


class Belief:
    """One market's m, in units of Price: 5600.0 is $0.56."""

    __slots__ = ("value",)

    def __init__(self, probability: float) -> None:
        """Raises ValueError unless it lies between 0 and 1, both excluded."""
        if not 0 < probability < 1:
            raise ValueError(f"a market starts undecided, not at {probability}")
        self.value = probability * DOLLAR

    def news(self, step: float, low: float, high: float, uniform: float) -> None:
        """Move by `step` up or down, or less where [low, high] ends sooner. At an end of it (or beyond): stay."""
        value = self.value
        below, above = value - step, value + step
        if below < low:
            below = low
        if above > high:
            above = high
        if below < value < above:
            self.value = above if uniform * (above - below) < value - below else below

    def trade(self, bid: float, ask: float, uniform: float) -> Side:
        """What a taker who knows buys, YES at `ask` or NO at `bid`; m becomes the price unless it lies beyond it."""
        value = self.value
        if value >= ask:
            return Side.YES
        if value <= bid:
            return Side.NO
        if uniform * (ask - bid) < value - bid:
            self.value = ask
            return Side.YES
        self.value = bid
        return Side.NO

    def settle(self, uniform: float, bias: float = 0.0) -> Side:
        """The result: YES with the probability that m says."""
        return Side.YES if uniform < self.value / DOLLAR + bias else Side.NO


def haste(seconds_left: float, span_s: float) -> float:
    """How much faster m moves near the close: as a digital option's price, with the root of the time that is left.

    `span_s` before the close and earlier it is 1; the last tenth of it gets no faster.
    """
    near = span_s / max(seconds_left, span_s / 10)
    return math.sqrt(near) if near > 1 else 1.0
