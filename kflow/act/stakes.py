"""What can be lost in a market at most: what its position cost, and what its open orders could come to cost. Pure.

Markets of an event are added up. Of mutually exclusive outcomes all but one pay nothing for YES, so nothing is netted
there; that NO of all but one does pay is not credited: else closing a market could raise what an event can lose.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from kflow.act.guard import Open
from kflow.market.fees import WholeRates
from kflow.market.limits import worst_fee
from kflow.units import DOLLAR


class Stake(NamedTuple):
    """A market's position, YES positive, 1e-2 contract, and what it cost with its fees, 1e-6 dollar.

    cost None: nobody knows, as of a position that was found at the venue; then a contract counts a dollar.
    """

    position: int = 0
    cost: int | None = 0

    def after(self, side: int, price: int, size: int, fee: int) -> Stake:
        """With a fill more. What it closes takes its share of the cost away; whatever it opens bears the fee."""
        held = -self.position if side == 0 else self.position
        closing = min(max(held, 0), size)
        opening = size - closing
        position = self.position + (size if side == 0 else -size)
        if self.cost is None and closing < held:
            return Stake(position, None)
        if closing < max(held, 0):  # a part stays, its cost rounded up
            assert self.cost is not None
            return Stake(position, -(-self.cost * (held - closing) // held))
        if held > 0:
            return Stake(position, price * opening + fee if opening else 0)
        if self.cost is None:
            return Stake(position, None)
        return Stake(position, self.cost + price * opening + fee)

    def at_risk(self, own: Iterable[Open], fees: WholeRates) -> int:
        """The most that can be lost, were any of these orders filled: 1e-6 dollar.

        Those that could close the position are taken to close it with their cheapest part.
        """
        risk = abs(self.position) * DOLLAR if self.cost is None else self.cost
        orders = list(own)
        for side in (0, 1):
            closing = max(-self.position if side == 0 else self.position, 0)
            for order in sorted((o for o in orders if o.side == side), key=lambda o: o.price):
                opening = max(order.left - closing, 0)
                closing -= order.left - opening
                if opening:
                    rates = (fees.dearer, fees.unit, fees.step, fees.precision)
                    risk += order.price * opening + worst_fee(order.price, opening, *rates)
        return risk
