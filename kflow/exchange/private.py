"""Bodies of the messages that only one user hears: fills, orders, positions, order groups (protocol section 3.7).

JSON text made with f-strings, as in `messages`; what a client chose is quoted by the JSON encoder.
"""

from __future__ import annotations

import msgspec

from kflow.exchange.accounts import Fill, Position, UserOrder
from kflow.exchange.messages import price_texts, size_text
from kflow.exchange.order_documents import ACTION, BOOK_SIDE, OUTCOME
from kflow.market.events import Side
from kflow.market.times import US_PER_S, format_rfc3339_us
from kflow.units import Money, Size, format_money


def fill_body(fill: Fill) -> str:
    """One fill of one order. `side`, `action`, `purchased_side` and `ts` are retired, yet required."""
    order = fill.order
    outcome = OUTCOME[order.side]
    return (
        f'{{"trade_id":"{fill.trade_id}","order_id":"{order.order_id}",'
        f'"client_order_id":{_quoted(order.client_order_id)},"market_ticker":"{order.ticket.ticker}",'
        f'"exchange_index":{order.shard},"is_taker":{_word(fill.taker)},"side":"{outcome}",'
        f'"yes_price_dollars":"{price_texts()[fill.price]}","count_fp":"{size_text(fill.size)}",'
        f'"fee_cost":"{format_money(fill.fee)}","action":"{ACTION[order.side]}",'
        f'"ts":{fill.venue_us // US_PER_S},"ts_ms":{fill.venue_us // 1000},'
        f'"post_position_fp":"{size_text(fill.position)}","purchased_side":"{outcome}","outcome_side":"{outcome}",'
        f'"book_side":"{BOOK_SIDE[order.side]}","subaccount":{order.account.subaccount}}}'
    )


def user_order_body(order: UserOrder) -> str:
    """An order as it stands; with what it is told why it changed, where the venue has a word for it."""
    ticket, outcome = order.ticket, OUTCOME[order.side]
    told = (
        f'{{"order_id":"{order.order_id}","user_id":"{order.account.user_id}","ticker":"{ticket.ticker}",'
        f'"exchange_index":{order.shard},"status":"{order.status}","side":"{outcome}",'
        f'"is_yes":{_word(order.side == Side.YES)},"outcome_side":"{outcome}","book_side":"{BOOK_SIDE[order.side]}",'
        f'"yes_price_dollars":"{price_texts()[order.price]}","fill_count_fp":"{size_text(order.filled)}",'
        f'"remaining_count_fp":"{size_text(order.remaining)}","initial_count_fp":"{size_text(order.initial)}",'
        f'"taker_fill_cost_dollars":"{format_money(order.taker_cost)}",'
        f'"maker_fill_cost_dollars":"{format_money(order.maker_cost)}",'
        f'"taker_fees_dollars":"{format_money(order.taker_fees)}",'
        f'"maker_fees_dollars":"{format_money(order.maker_fees)}",'
        f'"client_order_id":{_quoted(order.client_order_id)},"self_trade_prevention_type":"{order.self_trade}",'
        f'"created_time":"{format_rfc3339_us(order.created_us)}","created_ts_ms":{order.created_us // 1000},'
        f'"last_update_time":"{format_rfc3339_us(order.updated_us)}","last_updated_ts_ms":{order.updated_us // 1000},'
    )
    if order.expires_us is not None:
        expires = format_rfc3339_us(order.expires_us)
        told += f'"expiration_time":"{expires}","expiration_ts_ms":{order.expires_us // 1000},'
    if ticket.group_id is not None:
        told += f'"order_group_id":{_quoted(ticket.group_id)},'
    if order.reason:
        told += f'"last_update_reason":"{order.reason}",'
    return f'{told}"subaccount_number":{order.account.subaccount}}}'


def position_body(user_id: str, ticker: str, position: Position, subaccount: int = 0) -> str:
    """A position after a fill or a settlement."""
    # What of the fees belongs to what is held is not published; all of them, while anything is.
    held_fees = position.fees if position.size else Money(0)
    return (
        f'{{"user_id":"{user_id}","market_ticker":"{ticker}","position_fp":"{size_text(position.size)}",'
        f'"position_cost_dollars":"{format_money(position.cost)}",'
        f'"realized_pnl_dollars":"{format_money(position.realized)}",'
        f'"fees_paid_dollars":"{format_money(position.fees)}",'
        f'"position_fee_cost_dollars":"{format_money(held_fees)}",'
        f'"volume_fp":"{size_text(position.volume)}","subaccount":{subaccount}}}'
    )


def group_body(event_type: str, group_id: str, limit: Size | None, venue_us: int) -> str:
    """What happened to an order group; `limit` goes with `created` and `limit_updated` alone."""
    told = "" if limit is None else f'"contracts_limit_fp":"{size_text(limit)}",'
    return f'{{"event_type":"{event_type}","order_group_id":"{group_id}",{told}"ts_ms":{venue_us // 1000}}}'


def _word(value: bool) -> str:
    return "true" if value else "false"


def _quoted(text: str | None) -> str:
    return msgspec.json.encode(text or "").decode()
