"""What the venue itself does to trading: pauses, closes, determinations, settlements, other ticks, other fees.

Each act changes the trading half, queues its news, and leaves publishing to the next flush.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import msgspec

from kflow.exchange.accounts import Account
from kflow.exchange.clearing import Market
from kflow.exchange.desk import Desk
from kflow.exchange.lifecycle import lifecycle_message
from kflow.exchange.messages import LIFECYCLE, Message
from kflow.exchange.orders import Reason
from kflow.market.fees import FeeSchedule
from kflow.market.grid import Grid
from kflow.market.times import US_PER_S
from kflow.units import DOLLAR, Price, format_price

# Markets are looked through for one that closes at least this often: new ones come.
_LOOK_US: Final = US_PER_S


class Control:
    """The venue's own hand on a desk."""

    def __init__(self, desk: Desk) -> None:
        self.desk: Final = desk
        self.clearing: Final = desk.clearing
        self._venue: Final = desk.clearing.venue
        self._closed: set[str] = set()  # markets whose orders were taken out at their close
        self._next_close_us = 0  # nothing closes before it

    def advance(self) -> None:
        """Let time pass: orders expire, markets reach their close."""
        now_us = self.clearing.time()
        self._venue.now_us = max(self._venue.now_us, now_us)
        self.desk.expire(now_us)
        if now_us < self._next_close_us:
            return
        ahead = [now_us + _LOOK_US]
        for ticker, market in self.clearing.markets.items():
            if market.state.close_us > now_us:
                ahead.append(market.state.close_us)
            elif ticker not in self._closed:
                self.close(ticker)
        self._next_close_us = min(ahead)

    # The whole exchange.

    def pause(self, *, exchange: bool = False) -> None:
        """Pause trading (cancellations go on), or with `exchange` everything."""
        self._venue.trading_active = False
        self._venue.exchange_active = not exchange
        for account in self._accounts():
            for order in account.open_orders():
                if order.ticket.cancel_on_pause:
                    self.desk.withdraw(order, Reason.HALT)

    def resume(self) -> None:
        self._venue.trading_active = self._venue.exchange_active = True

    # One market.

    def deactivate(self, ticker: str) -> None:
        """Pause one market; its orders stay."""
        self._news(ticker, "deactivated", is_deactivated=True)

    def activate(self, ticker: str) -> None:
        """Let a paused market go on. That takes every order out of it (protocol section 7.3)."""
        self.cancel_orders(ticker, Reason.HALT)
        self._news(ticker, "activated", is_deactivated=False)

    def close(self, ticker: str) -> None:
        """Take the orders out of a market whose time has come. No message says so (protocol section 7.3)."""
        self._closed.add(ticker)
        self.cancel_orders(ticker, Reason.CLOSE)

    def move_close(self, ticker: str, close_us: int) -> None:
        """Let a market close at another time; one that lies behind us closes it now."""
        self._news(ticker, "close_date_updated", close_ts=close_us // US_PER_S)
        self.clearing.markets[ticker].state.close_us = close_us
        self._closed.discard(ticker)
        self._next_close_us = 0
        self.advance()

    def retick(self, ticker: str, structure: str) -> None:
        """Give a market other prices; orders that rest stay where they are. Raises Unrepresentable for no structure."""
        ranges = Grid.named(structure).price_ranges()
        self._news(ticker, "price_level_structure_updated", price_level_structure=structure, price_ranges=ranges)
        self.regrid(ticker, structure, ranges)

    def regrid(self, ticker: str, structure: str, price_ranges: Sequence[dict[str, str]]) -> None:
        """The same where the news is out already. Raises Unrepresentable for ranges that are none."""
        market = self.clearing.markets[ticker]
        market.engine.grid = Grid.parse(price_ranges)
        market.state.listing = replace(market.listing, structure=structure, price_ranges=tuple(price_ranges))

    def charge(self, event: str, fee_type: str, multiplier: float) -> None:
        """Override the fees of an event. Raises Unrepresentable for a type without a formula."""
        schedule = FeeSchedule.parse(fee_type, str(multiplier))
        for market in self.clearing.markets.values():
            if market.listing.event == event:
                self._recharge(market, schedule)
        listed = self._venue.events[event]
        self._venue.list_events(replace(listed, fee_type_override=fee_type, fee_multiplier_override=multiplier))
        facts = {"event_ticker": event, "fee_type_override": fee_type, "fee_multiplier_override": multiplier}
        body = msgspec.json.encode(facts).decode()
        self.clearing.queue(Message(LIFECYCLE, "event_fee_update", "", body, self.clearing.stamp()))

    def _recharge(self, market: Market, schedule: FeeSchedule) -> None:
        """Fills to come cost otherwise, of orders that rest too; the youngest go where a dearer fee is not there."""
        market.schedule = schedule
        ticker, shard = market.listing.ticker, market.shard
        for account in self._accounts():
            orders = account.open_orders(ticker)
            for order in orders:
                order.charge(schedule)
            account.refresh(ticker, shard, schedule)
            while orders and account.available(shard) < 0:
                self.desk.withdraw(orders.pop(), Reason.MARGIN)
            if shard in account.cash:
                self.clearing.balance_changed(account, shard)

    def determine(self, ticker: str, value: Price) -> None:
        """Say what one YES contract pays: $1 (yes), $0 (no), or between them (scalar)."""
        self.cancel_orders(ticker, Reason.CLOSE)
        venue_us = self.clearing.stamp()
        self._news(
            ticker,
            "determined",
            result=result_of(value),
            determination_ts=venue_us // US_PER_S,
            settlement_value=format_price(value),
        )

    def settle(self, ticker: str, value: Price) -> None:
        """Pay out."""
        venue_us = self.clearing.stamp()
        self.clearing.settle(ticker, result_of(value), value, venue_us)
        self._news(ticker, "settled", settled_ts=venue_us // US_PER_S)

    def _news(self, ticker: str, event_type: str, **facts: object) -> None:
        # The market changes at once: the news may be late, and an order that came before it would be none the wiser.
        news = lifecycle_message(ticker, event_type, self.clearing.stamp(), **facts)
        self.clearing.queue(self._venue.heed(news))

    def cancel_orders(self, ticker: str, reason: Reason) -> None:
        """Take every account's orders out of a market."""
        for account in self._accounts():
            for order in account.open_orders(ticker):
                self.desk.withdraw(order, reason)

    def _accounts(self) -> Iterator[Account]:
        for member in self.desk.members.values():
            yield from member.accounts.values()


def result_of(value: Price) -> str:
    """The result that goes with a settlement value."""
    if value == DOLLAR:
        return "yes"
    return "no" if value == 0 else "scalar"
