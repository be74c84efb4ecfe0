"""What the official models (3.34) and independent clients require of answers: each field with its exact JSON type.

A type is a class; a tuple of texts is a closed set. `datetime` stands for RFC 3339 text. Fields that may be absent or
null are not listed; those that only other clients require are at the end of each table.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

BOOK_SIDE = ("bid", "ask")
OUTCOME = ("yes", "no")

ORDER: dict[str, Any] = {
    "order_id": str,
    "user_id": str,
    "client_order_id": str,
    "ticker": str,
    "outcome_side": OUTCOME,
    "book_side": BOOK_SIDE,
    "type": ("limit",),
    "status": ("resting", "canceled", "executed"),
    "yes_price_dollars": str,
    "no_price_dollars": str,
    "fill_count_fp": str,
    "remaining_count_fp": str,
    "initial_count_fp": str,
    "taker_fill_cost_dollars": str,
    "maker_fill_cost_dollars": str,
    "taker_fees_dollars": str,
    "maker_fees_dollars": str,
    "side": OUTCOME,
    "action": ("buy", "sell"),
}
FILL: dict[str, Any] = {
    "fill_id": str,
    "exchange_index": int,
    "trade_id": str,
    "order_id": str,
    "ticker": str,
    "market_ticker": str,
    "outcome_side": OUTCOME,
    "book_side": BOOK_SIDE,
    "count_fp": str,
    "yes_price_dollars": str,
    "no_price_dollars": str,
    "is_taker": bool,
    "fee_cost": str,
    "created_time": datetime,
    "ts": int,
    "side": OUTCOME,
    "action": ("buy", "sell"),
}
MARKET_POSITION: dict[str, Any] = {
    "ticker": str,
    "exchange_index": int,
    "total_traded_dollars": str,
    "position_fp": str,
    "market_exposure_dollars": str,
    "realized_pnl_dollars": str,
    "fees_paid_dollars": str,
    "last_updated_ts": datetime,
    "resting_orders_count": int,
}
EVENT_POSITION: dict[str, Any] = {
    "event_ticker": str,
    "total_cost_dollars": str,
    "total_cost_shares_fp": str,
    "event_exposure_dollars": str,
    "realized_pnl_dollars": str,
    "fees_paid_dollars": str,
}
SETTLEMENT: dict[str, Any] = {
    "ticker": str,
    "exchange_index": int,
    "event_ticker": str,
    "market_result": ("yes", "no", "scalar"),
    "yes_count_fp": str,
    "yes_total_cost_dollars": str,
    "no_count_fp": str,
    "no_total_cost_dollars": str,
    "revenue": int,
    "settled_time": datetime,
    "fee_cost": str,
    "value": int,
}
CREATED: dict[str, Any] = {"order_id": str, "fill_count": str, "remaining_count": str, "ts_ms": int}
CANCELED: dict[str, Any] = {"order_id": str, "reduced_by": str, "ts_ms": int}
DECREASED: dict[str, Any] = {"order_id": str, "remaining_count": str, "ts_ms": int}
BALANCE: dict[str, Any] = {
    "balance": int,
    "balance_dollars": str,
    "portfolio_value": int,
    "updated_ts": int,
    "balance_breakdown": list,
}
INDEXED_BALANCE: dict[str, Any] = {"exchange_index": int, "balance": str}
SUBACCOUNT_BALANCE: dict[str, Any] = {
    "subaccount_number": int,
    "exchange_index": int,
    "balance": str,
    "updated_ts": int,
}
SUBACCOUNT_TRANSFER: dict[str, Any] = {
    "transfer_id": str,
    "from_subaccount": int,
    "to_subaccount": int,
    "amount_cents": int,
    "created_ts": int,
    "exchange_index": int,
}
SHARD_TRANSFER: dict[str, Any] = {
    "transfer_id": str,
    "source": ("event_contract", "margined"),
    "destination": ("event_contract", "margined"),
    "source_exchange_shard": int,
    "destination_exchange_shard": int,
    "amount": str,
    "status": ("pending", "complete"),
    "created_ts": int,
}
ORDER_GROUP: dict[str, Any] = {"is_auto_cancel_enabled": bool, "orders": list, "contracts_limit_fp": str}
LISTED_GROUP: dict[str, Any] = {"id": str, "is_auto_cancel_enabled": bool}
BUCKET: dict[str, Any] = {"refill_rate": int, "bucket_capacity": int}
LIMITS: dict[str, Any] = {"usage_tier": str, "read": dict, "write": dict, "grants": list}
ENDPOINT_COST: dict[str, Any] = {"method": str, "path": str, "cost": int}
API_KEY: dict[str, Any] = {"api_key_id": str, "name": str, "scopes": list}

WS_FILL: dict[str, Any] = {
    "trade_id": str,
    "order_id": str,
    "client_order_id": str,
    "market_ticker": str,
    "exchange_index": int,
    "is_taker": bool,
    "side": OUTCOME,
    "yes_price_dollars": str,
    "count_fp": str,
    "fee_cost": str,
    "action": ("buy", "sell"),
    "outcome_side": OUTCOME,
    "book_side": BOOK_SIDE,
    "ts": int,
    "ts_ms": int,
    "post_position_fp": str,
    "purchased_side": OUTCOME,
}
WS_USER_ORDER: dict[str, Any] = {
    "order_id": str,
    "user_id": str,
    "ticker": str,
    "exchange_index": int,
    "status": ("resting", "canceled", "executed"),
    "side": OUTCOME,
    "is_yes": bool,
    "outcome_side": OUTCOME,
    "book_side": BOOK_SIDE,
    "yes_price_dollars": str,
    "fill_count_fp": str,
    "remaining_count_fp": str,
    "initial_count_fp": str,
    "taker_fill_cost_dollars": str,
    "maker_fill_cost_dollars": str,
    "taker_fees_dollars": str,
    "maker_fees_dollars": str,
    "client_order_id": str,
    "created_time": datetime,
    "created_ts_ms": int,
}
WS_POSITION: dict[str, Any] = {
    "user_id": str,
    "market_ticker": str,
    "position_fp": str,
    "position_cost_dollars": str,
    "realized_pnl_dollars": str,
    "fees_paid_dollars": str,
    "position_fee_cost_dollars": str,
    "volume_fp": str,
}
WS_GROUP: dict[str, Any] = {
    "event_type": ("created", "triggered", "reset", "deleted", "limit_updated"),
    "order_group_id": str,
    "ts_ms": int,
}


def faults(document: dict[str, Any], model: dict[str, Any]) -> list[str]:
    """What a strict client would object to."""
    found = [f"{name} is missing" for name in model if name not in document]
    for name in model.keys() & document.keys():
        value, wanted = document[name], model[name]
        if wanted is datetime:
            good = isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
        elif isinstance(wanted, tuple):
            good = value in wanted
        else:
            good = type(value) is wanted
        if not good:
            found.append(f"{name} is {value!r}")
    return found
