"""How often orders leave and are filled, as the guard has to know it. Times are monotonic µs, told by the caller."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from kflow.act.limits import Limits
from kflow.act.orders import Intent

# Since what never happened.
NEVER: Final = 2**62
_MINUTE: Final = 60_000_000
# Kinds of order that are remembered for duplicates; older than any duplicate is looked for, they go.
_KINDS: Final = 10_000
_LONGEST: Final = 3_600_000_000


class Paced(NamedTuple):
    """What an order's pace is judged by, at one moment."""

    waited_us: int  # since the last order in its market
    same_us: int  # since the last one of the same market, side, price and size
    tokens: int  # orders that may leave now, whatever their market
    fills: int  # in the last minute


class Pace:
    """One account's orders and fills. The bucket of tokens begins full: tell it of orders from before a restart.

    In every stretch of time no more orders leave than `burst` and `orders_per_minute` x its minutes.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits  # replaced where they are lowered
        self._tokens = limits.burst * _MINUTE  # in 1/60,000,000 of an order: a µs brings `orders_per_minute` of them
        self._tokens_us = 0
        self._markets: dict[str, int] = {}
        self._kinds: dict[tuple[str, int, int, int], int] = {}
        self._fills: deque[int] = deque()

    def of(self, intent: Intent, now_us: int) -> Paced:
        """For an order that may leave now. Changes nothing."""
        since = now_us - _MINUTE
        gone = 0
        for us in self._fills:
            if us > since:
                break
            gone += 1
        return Paced(
            _since(self._markets.get(intent.market), now_us),
            _since(self._kinds.get(_kind(intent)), now_us),
            max(self._filled_to(now_us), 0) // _MINUTE,
            len(self._fills) - gone,
        )

    def sent(self, intent: Intent, now_us: int) -> None:
        """An order leaves."""
        self._tokens = self._filled_to(now_us) - _MINUTE
        self._tokens_us = max(self._tokens_us, now_us)
        self._markets[intent.market] = now_us
        self._kinds[_kind(intent)] = now_us
        if len(self._kinds) > _KINDS:
            self._kinds = {kind: us for kind, us in self._kinds.items() if now_us - us < _LONGEST}

    def filled(self, now_us: int) -> None:
        """A fill was heard of."""
        while self._fills and self._fills[0] <= now_us - _MINUTE:
            self._fills.popleft()
        self._fills.append(now_us)

    def _filled_to(self, now_us: int) -> int:
        brought = max(now_us - self._tokens_us, 0) * self.limits.orders_per_minute
        return min(self._tokens + brought, self.limits.burst * _MINUTE)


def _kind(intent: Intent) -> tuple[str, int, int, int]:
    return intent.market, intent.side, intent.price, intent.size


def _since(us: int | None, now_us: int) -> int:
    return NEVER if us is None else max(now_us - us, 0)
