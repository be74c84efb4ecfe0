"""REST objects of the trading half: orders, fills, positions, settlements (protocol sections 5.5 and 5.6).

The venue names a direction three times: `book_side`, `outcome_side`, and the retired pair of `side` and `action`, which
is "sell yes" on an order that asks and "sell no" on its fills. Prices are YES prices whatever the direction.
"""

from __future__ import annotations

from typing import Final

from kflow.exchange.accounts import Fill, Position, UserOrder
from kflow.exchange.documents import Document
from kflow.exchange.messages import price_texts, size_text
from kflow.exchange.settlements import Settlement
from kflow.market.events import Side
from kflow.market.times import US_PER_S, format_rfc3339_us
from kflow.units import CONTRACT, DOLLAR, Money, Price, format_money

CENT: Final = Money(10_000)

OUTCOME: Final = ("yes", "no")  # by Side
BOOK_SIDE: Final = ("bid", "ask")
ACTION: Final = ("buy", "sell")


def order_document(order: UserOrder) -> Document:
    """An order as it stands. Times are RFC 3339; costs and fees have six decimals."""
    ticket, texts = order.ticket, price_texts()
    expires = order.expires_us
    return {
        "order_id": order.order_id,
        "user_id": order.account.user_id,
        "client_order_id": order.client_order_id or "",
        "ticker": ticket.ticker,
        "side": "yes",
        "action": ACTION[order.side],
        "outcome_side": OUTCOME[order.side],
        "book_side": BOOK_SIDE[order.side],
        "type": "limit",
        "status": order.status,
        "yes_price_dollars": texts[order.price],
        "no_price_dollars": texts[DOLLAR - order.price],
        "fill_count_fp": size_text(order.filled),
        "remaining_count_fp": size_text(order.remaining),
        "initial_count_fp": size_text(order.initial),
        "taker_fill_cost_dollars": format_money(order.taker_cost),
        "maker_fill_cost_dollars": format_money(order.maker_cost),
        "taker_fees_dollars": format_money(order.taker_fees),
        "maker_fees_dollars": format_money(order.maker_fees),
        "expiration_time": format_rfc3339_us(expires) if expires is not None else None,
        "created_time": format_rfc3339_us(order.created_us),
        "last_update_time": format_rfc3339_us(order.updated_us),
        "self_trade_prevention_type": str(order.self_trade),
        "order_group_id": ticket.group_id,
        "cancel_order_on_pause": ticket.cancel_on_pause,
        "subaccount_number": order.account.subaccount,
        "exchange_index": order.shard,
    }


def fill_document(fill: Fill) -> Document:
    """A fill. It carries no client_order_id; `ts` is whole seconds."""
    order, texts = fill.order, price_texts()
    return {
        "fill_id": fill.trade_id,
        "trade_id": fill.trade_id,
        "exchange_index": order.shard,
        "order_id": order.order_id,
        "ticker": order.ticket.ticker,
        "market_ticker": order.ticket.ticker,
        "side": OUTCOME[order.side],
        "action": ACTION[order.side],
        "outcome_side": OUTCOME[order.side],
        "book_side": BOOK_SIDE[order.side],
        "count_fp": size_text(fill.size),
        "yes_price_dollars": texts[fill.price],
        "no_price_dollars": texts[DOLLAR - fill.price],
        "is_taker": fill.taker,
        "created_time": format_rfc3339_us(fill.venue_us),
        "fee_cost": format_money(fill.fee),
        "subaccount_number": order.account.subaccount,
        "ts": fill.venue_us // US_PER_S,
    }


def position_document(ticker: str, shard: int, position: Position) -> Document:
    """A position; `position_fp` is signed, the exposure is what was paid for what is held."""
    return {
        "ticker": ticker,
        "exchange_index": shard,
        "total_traded_dollars": format_money(position.traded),
        "position_fp": size_text(position.size),
        "market_exposure_dollars": format_money(position.cost),
        "realized_pnl_dollars": format_money(position.realized),
        "fees_paid_dollars": format_money(position.fees),
        "volume_fp": size_text(position.volume),  # beyond the documents: events add it up
        "last_updated_ts": format_rfc3339_us(position.updated_us),
    }


def settlement_document(settlement: Settlement) -> Document:
    """What a market paid one account. `revenue` and `value` are whole cents, rounded down."""
    return {
        "ticker": settlement.ticker,
        "exchange_index": settlement.shard,
        "event_ticker": settlement.event,
        "market_result": settlement.result,
        "yes_count_fp": size_text(settlement.yes_size),
        "yes_total_cost_dollars": format_money(settlement.yes_cost),
        "no_count_fp": size_text(settlement.no_size),
        "no_total_cost_dollars": format_money(settlement.no_cost),
        "revenue": settlement.revenue // CENT,
        "settled_time": format_rfc3339_us(settlement.venue_us),
        "fee_cost": format_money(settlement.fees),
        "value": settlement.value * 100 // DOLLAR,
    }


def averages(order: UserOrder) -> Document:
    """What a write's answer adds once something traded: mean YES price and fees per contract, to the nearest unit."""
    if not order.filled:
        return {}
    half = order.filled // 2
    own_price = (order.taker_cost + order.maker_cost + half) // order.filled
    yes_price = Price(own_price if order.side == Side.YES else DOLLAR - own_price)
    fees = Money(((order.taker_fees + order.maker_fees) * CONTRACT + half) // order.filled)
    return {"average_fill_price": price_texts()[yes_price], "average_fee_paid": format_money(fees)}
