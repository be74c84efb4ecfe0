"""Fills as the private channel tells of them (kalshi-protocol section 3.7): sooner than any question would."""

from __future__ import annotations

import logging

import msgspec

from kflow.act.orders import Fill
from kflow.act.venue import VenueFill
from kflow.errors import Unrepresentable
from kflow.market.events import Other
from kflow.units import DOLLAR, parse_money, parse_price, parse_size

_log = logging.getLogger(__name__)
_OUTCOMES = ("yes", "no")


class _Fill(msgspec.Struct):
    trade_id: str
    order_id: str
    market_ticker: str
    outcome_side: str
    yes_price_dollars: str
    count_fp: str
    is_taker: bool
    fee_cost: str
    ts_ms: int


class _Message(msgspec.Struct):
    msg: _Fill


def fill_of(event: Other) -> VenueFill | None:
    """The fill that a frame tells of; None where it tells of none, or of one that nobody can read.

    What cannot be read is found by the next question to the venue, so it is said and passed over.
    """
    if event.kind != "fill":
        return None
    try:
        told = msgspec.json.decode(event.raw, type=_Message).msg
        side = _OUTCOMES.index(told.outcome_side)
        yes = int(parse_price(told.yes_price_dollars))
        fill = Fill(
            trade=told.trade_id,
            us=told.ts_ms * 1000,
            price=int(DOLLAR) - yes if side else yes,
            size=int(parse_size(told.count_fp)),
            fee=int(parse_money(told.fee_cost)),
            taker=told.is_taker,
        )
    except (msgspec.MsgspecError, ValueError, Unrepresentable) as error:
        _log.warning("a fill was told of that cannot be read: %s", error)
        return None
    return VenueFill(told.order_id, told.market_ticker, side, fill)
