"""What REST shows an account of its own trading: documents, shown after a lag.

The venue's reads lag its writes (protocol section 5.1): an order may still look resting some 100 ms after the answer
that canceled it. With a lag every change waits in a queue; without one it is there at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from kflow.clock import Clock
from kflow.exchange.accounts import Account, Fill, UserOrder
from kflow.exchange.order_documents import fill_document, order_document, position_document
from kflow.units import Money

Document = dict[str, Any]


class Reads:
    """One account as REST shows it. Its attributes are for reading; call `catch_up` first."""

    def __init__(self, account: Account, clock: Clock, lag_ns: int) -> None:
        self._clock, self._lag_ns = clock, lag_ns
        self._late: deque[tuple[int, Callable[[], None]]] = deque()
        # Without a lag an order's document is made when somebody looks: most changes are never looked at.
        self._changed: dict[str, UserOrder] = {}
        self.orders: Final[dict[str, Document]] = {}  # by order id, oldest first
        self.fills: Final[list[Document]] = []  # oldest first
        self.positions: Final[dict[str, Document]] = {}  # by market
        self.settlements: Final[list[Document]] = []
        # By shard: what is free, and what resting orders hold back.
        self.balances: Final[dict[int, Money]] = {shard: account.available(shard) for shard in account.cash}
        self.reserved: Final[dict[int, Money]] = {shard: _reserved(account, shard) for shard in account.cash}

    @property
    def as_of_us(self) -> int:
        """The moment that the documents show."""
        return (self._clock.wall_ns() - self._lag_ns) // 1000

    def catch_up(self) -> None:
        """Show what has become old enough."""
        now_ns = self._clock.mono_ns()
        while self._late and self._late[0][0] <= now_ns:
            self._late.popleft()[1]()
        for order_id, order in self._changed.items():
            self.orders[order_id] = order_document(order)
        self._changed.clear()

    def _show(self, change: Callable[[], None]) -> None:
        if self._lag_ns:
            self._late.append((self._clock.mono_ns() + self._lag_ns, change))
        else:
            change()

    def order(self, order: UserOrder) -> None:
        if not self._lag_ns:
            self._changed[order.order_id] = order
            return
        document = order_document(order)
        self._show(lambda: self.orders.__setitem__(order.order_id, document))

    def fill(self, fill: Fill) -> None:
        document = fill_document(fill)
        self._show(lambda: self.fills.append(document))

    def position(self, account: Account, ticker: str, shard: int) -> None:
        document = position_document(ticker, shard, account.position(ticker))
        self._show(lambda: self.positions.__setitem__(ticker, document))

    def settlement(self, document: Document) -> None:
        self._show(lambda: self.settlements.append(document))

    def balance(self, account: Account, shard: int) -> None:
        available, reserved = account.available(shard), _reserved(account, shard)

        def change() -> None:
            self.balances[shard], self.reserved[shard] = available, reserved

        self._show(change)


def _reserved(account: Account, shard: int) -> Money:
    return Money(account.cash[shard] - account.available(shard))
