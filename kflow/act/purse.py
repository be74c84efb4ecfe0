"""What a policy has in one market, as it counted in training: its own cash, position and orders there. Plain Python."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from kflow.act.orders import Account, Fill, Order
from kflow.market.fees import FeeSchedule
from kflow.market.limits import worst_fee
from kflow.policy.view import MarketView
from kflow.units import DOLLAR


class Purse:
    """Of one market. A policy was trained with `cash` in each market, so here every market begins with that, too."""

    def __init__(self, market: str, cash: int, fees: FeeSchedule) -> None:
        self.market: Final = market
        self.cash_at_start: Final = cash
        self._account = Account(cash)
        self._rates: Final = fees.whole()
        # Best columns that were seen last, for what nobody quotes now; -1: none yet.
        self._last_bid = self._last_ask = -1
        self._unpriced = False
        self._opens: dict[str, int] = {}  # of each order that rests, contracts that open a position

    @property
    def position(self) -> int:
        """YES positive."""
        return self._account.positions.get(self.market, 0)

    @property
    def cash(self) -> int:
        """With what open orders hold back."""
        return self._account.cash

    @property
    def fees(self) -> int:
        """Paid so far."""
        return self._account.fees

    def apply(self, order: Order, fill: Fill) -> bool:
        """Book a fill of an order, as the order is with it: what closes is filled first. False where it was booked."""
        mine = order.intent.client_order_id
        opens, before = self._opens.get(mine), order.left + fill.size
        if opens is not None:
            self._opens[mine] = opens - (fill.size - min(fill.size, before - min(opens, before)))
        return self._account.apply(self.market, order.intent.side, order.intent.client_order_id, fill)

    def hold(self, position: int) -> None:
        """Begin with what the account holds already. It is paid for at what it brings when a book is seen first."""
        self._account.positions[self.market] = position
        self._unpriced = position != 0

    def adopt(self, position: int, view: MarketView, prices: list[int]) -> None:
        """Go on with what somebody else made of the position: for what it changes it was paid what that brings now."""
        before = self.equity(view, prices)
        self._account.positions[self.market] = position
        self._account.cash -= self.equity(view, prices) - before

    def settle(self, value: int) -> None:
        """Pay out what is held; `value` of a YES contract."""
        self._account.settle(self.market, value)

    def free(self, orders: Iterable[Order]) -> int:
        """Cash that no open order could come to need, as the kernel holds it back in training.

        What an order would close of the position that it met when it came to rest costs its fee alone; what is still
        under way is counted whole.
        """
        free = self.cash
        for order in orders:
            price, left = order.intent.price, order.left
            opens = min(self._opens.get(order.intent.client_order_id, left), left)
            free -= self.most(price, left) - price * (left - opens)
        return free

    def rests(self, order: Order, others: Iterable[Order]) -> None:
        """An order came to rest: what of it opens a position, with what rests before it taken to close first."""
        side, left = order.intent.side, order.left
        mine = order.intent.client_order_id
        covered = sum(
            other.left - min(self._opens.get(other.intent.client_order_id, other.left), other.left)
            for other in others
            if other.intent.side == side and other.intent.client_order_id != mine
        )
        held = -self.position if side == 0 else self.position
        self._opens[mine] = left - min(max(held - covered, 0), left)

    def most(self, price: int, size: int) -> int:
        """What an order could cost at most, 1e-6 dollar; what it would close is not looked at."""
        rates = self._rates
        return price * size + worst_fee(price, size, rates.dearer, rates.unit, rates.step, rates.precision)

    def look(self, view: MarketView) -> None:
        """Remember the touch."""
        if view.bid >= 0:
            self._last_bid = view.bid
        if view.ask < len(view.book[1]):
            self._last_ask = view.ask

    def equity(self, view: MarketView, prices: list[int]) -> int:
        """Cash, and what the position would bring now: as `kernel.liquidation` counts it."""
        worth = self._worth(view, prices)
        if self._unpriced and (view.bid >= 0 or view.ask < len(prices)):
            self._account.cash -= worth
            self._unpriced = False
        return self.cash + worth

    def _worth(self, view: MarketView, prices: list[int]) -> int:
        """Sold level by level, fees paid; what the book does not take at its worst price, else at the last one seen."""
        held = self.position
        if not held:
            return 0
        side, toward = (0, -1) if held > 0 else (1, 1)
        column = view.bid if side == 0 else view.ask
        rest = self._last_bid if side == 0 else self._last_ask
        if rest >= 0:
            rest = min(rest, view.ask - 1) if side == 0 else max(rest, view.bid + 1)
        left, worth = abs(held), 0
        while left and 0 <= column < len(prices):
            shown = view.book[side][column]
            if shown:
                rest = column
                size = min(shown, left)
                worth += self._sold(side, prices[column], size)
                left -= size
            column += toward
        if left and 0 <= rest < len(prices):
            worth += self._sold(side, prices[rest], left)
        return worth

    def _sold(self, side: int, price: int, size: int) -> int:
        rates = self._rates
        fee = -(-(rates.taker * price * (DOLLAR - price) * size) // rates.unit) * rates.step
        own = price if side == 0 else DOLLAR - price
        return max(own * size - fee, 0)
