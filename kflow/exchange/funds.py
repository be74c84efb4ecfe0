"""Whether an account can pay for an order in the worst case, which is what an exchange asks before it takes one."""

from __future__ import annotations

from typing import Final

from kflow.exchange.accounts import Account, UserOrder
from kflow.exchange.clearing import Market
from kflow.exchange.collateral import Claim
from kflow.exchange.matching import OrderBook
from kflow.exchange.terms import OrderRefused
from kflow.market.events import Side
from kflow.units import DOLLAR, Money, Price, Size, format_money

_HALF: Final = DOLLAR // 2


def afford(account: Account, market: Market, claim: Claim, instead: UserOrder | None) -> None:
    """Check that all of an order, or of what another becomes, can be paid for at its limit, as a taker.

    Raises OrderRefused.
    """
    ticker, schedule = market.listing.ticker, market.schedule
    needed = account.needs(ticker, schedule, instead=instead, claim=claim)
    more = needed - account.reserved(ticker)
    if _would_take(market, claim):
        # Only what opens pays a taker's fee from cash: closing brings more than its fee. An order that moves opens
        # all of it anew, though it may need less than before.
        nothing = Claim(claim.side, claim.price, Size(0))
        opens = needed - account.needs(ticker, schedule, instead=instead, claim=nothing)
        dearest = Price(min(claim.price, _HALF) if claim.side == Side.YES else max(claim.price, _HALF))
        more += schedule.trade_fee(dearest, Size(min(claim.size, -(-opens // claim.own_price))), taker=True)
    if more > account.available(market.shard) and more > 0:
        short = Money(more - account.available(market.shard))
        raise OrderRefused(400, "insufficient_balance", f"{format_money(short)} dollars short")


def _would_take(market: Market, claim: Claim) -> bool:
    """Whether an order would cross what is there now; the public book may come to show it only later."""
    other = Side(1 - claim.side)
    if isinstance(market.engine, OrderBook):
        best: int = market.engine.best(other) or 0
    else:
        shown = market.state.book.best(other)
        best = max([shown[0] if shown else 0, *[order.own_price for order in market.engine.orders(other)]])
    return best + claim.own_price >= DOLLAR
