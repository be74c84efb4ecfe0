"""REST objects: every field that clients' models require, with its exact JSON type (protocol section 5.4)."""

from __future__ import annotations

from typing import Any

import msgspec

from kflow.exchange.listing import EventListing, SeriesListing
from kflow.exchange.market import Candle, MarketState, Venue
from kflow.exchange.messages import Message, book_arrays, price_texts, size_text
from kflow.market.events import Side
from kflow.market.times import US_PER_S, format_rfc3339_us
from kflow.units import CONTRACT, DOLLAR

Document = dict[str, Any]


def market_document(venue: Venue, state: MarketState) -> Document:
    """A market. `liquidity_dollars` is retired, but a client still requires it."""
    listing = state.listing
    document: Document = {
        "ticker": listing.ticker,
        "event_ticker": listing.event,
        "market_type": "binary",
        "title": listing.title,
        "subtitle": "",
        "yes_sub_title": listing.yes_sub_title,
        "no_sub_title": listing.yes_sub_title,
        **_times(state),
        "settlement_timer_seconds": listing.settle_after_s,
        "status": venue.status(state),
        "result": state.result,
        **_figures(state),
        "can_close_early": True,
        "settlement_bounds_type": "default",
        "expiration_value": "",
        "rules_primary": listing.title,
        "rules_secondary": "",
        "price_level_structure": listing.structure,
        "price_ranges": list(listing.price_ranges),
        "strike_type": listing.strike_type,
        "exchange_index": 0,
        # Of no use here, but a client requires it.
        "fractional_trading_enabled": True,
    }
    if listing.floor_strike is not None:
        document["floor_strike"] = listing.floor_strike
    if listing.cap_strike is not None:
        document["cap_strike"] = listing.cap_strike
    if state.settlement_value is not None:
        document["settlement_value_dollars"] = state.settlement_value
    if state.settled_us is not None:
        document["settlement_ts"] = format_rfc3339_us(state.settled_us)
    return document | _legacy_market(state) if venue.style.legacy else document


def _times(state: MarketState) -> Document:
    last = format_rfc3339_us(state.close_us + 7 * 86_400 * US_PER_S)
    return {
        "created_time": format_rfc3339_us(state.listing.open_us),
        "updated_time": format_rfc3339_us(state.updated_us),
        "open_time": format_rfc3339_us(state.listing.open_us),
        "close_time": format_rfc3339_us(state.close_us),
        "expected_expiration_time": format_rfc3339_us(state.close_us + 300 * US_PER_S),
        "expiration_time": last,
        "latest_expiration_time": last,
    }


def _figures(state: MarketState) -> Document:
    texts = price_texts()
    bid, bid_size, ask, ask_size = state.touch()
    return {
        "yes_bid_dollars": texts[bid],
        "yes_bid_size_fp": size_text(bid_size),
        "yes_ask_dollars": texts[ask],
        "yes_ask_size_fp": size_text(ask_size),
        "no_bid_dollars": texts[DOLLAR - ask],
        "no_ask_dollars": texts[DOLLAR - bid],
        "last_price_dollars": texts[state.last_price or 0],
        "volume_fp": size_text(state.volume),
        "volume_24h_fp": size_text(state.volume),
        "open_interest_fp": size_text(state.open_interest),
        "notional_value_dollars": "1.0000",
        "previous_yes_bid_dollars": "0.0000",
        "previous_yes_ask_dollars": "0.0000",
        "previous_price_dollars": "0.0000",
        "liquidity_dollars": "0.0000",
    }


def _legacy_market(state: MarketState) -> Document:
    bid, _, ask, _ = state.touch()
    return {
        "yes_bid": bid // 100,
        "yes_ask": ask // 100,
        "no_bid": (DOLLAR - ask) // 100,
        "no_ask": (DOLLAR - bid) // 100,
        "last_price": (state.last_price or 0) // 100,
        "volume": state.volume // CONTRACT,
        "open_interest": state.open_interest // CONTRACT,
        "tick_size": 1,
    }


def event_document(venue: Venue, event: EventListing, *, nested: bool) -> Document:
    document: Document = {
        "event_ticker": event.ticker,
        "series_ticker": event.series,
        "title": event.title,
        "sub_title": event.sub_title,
        "collateral_return_type": "MECNET" if event.mutually_exclusive else "",
        "mutually_exclusive": event.mutually_exclusive,
        "available_on_brokers": True,
        "category": venue.series[event.series].category,
        "exchange_index": 0,
    }
    if event.fee_type_override is not None:
        document["fee_type_override"] = event.fee_type_override
        document["fee_multiplier_override"] = event.fee_multiplier_override
    if nested:
        document["markets"] = [market_document(venue, state) for state in event_markets(venue, event.ticker)]
    return document


def event_markets(venue: Venue, event: str) -> list[MarketState]:
    """Live markets of an event, lowest strike first."""
    states = [state for state in venue.live() if state.listing.event == event]
    return sorted(states, key=lambda state: (state.listing.floor_strike or 0.0, state.listing.ticker))


def series_document(series: SeriesListing) -> Document:
    return {
        "ticker": series.ticker,
        "frequency": series.frequency,
        "title": series.title,
        "category": series.category,
        "categories": [series.category],
        "tags": [],
        "settlement_sources": [{"name": "kflow", "url": ""}],
        "contract_url": "",
        "contract_terms_url": "",
        "fee_type": series.fee_type,
        "fee_multiplier": series.fee_multiplier,
        "additional_prohibitions": [],
        "exchange_index": 0,
    }


def orderbook_document(state: MarketState, depth: int) -> Document:
    """Both arrays always, ascending; the best `depth` levels of each side (0: all)."""
    yes, no = state.book.levels(Side.YES), state.book.levels(Side.NO)
    return {"yes_dollars": book_arrays(yes[-depth:]), "no_dollars": book_arrays(no[-depth:])}


def trade_document(trade: Message) -> Document:
    """A trade, from what was read of it: a recording's body may be of an older form."""
    body = msgspec.json.decode(trade.body)
    texts = price_texts()
    side, book_side = ("no", "ask") if trade.side == Side.NO else ("yes", "bid")
    return {
        "trade_id": body.get("trade_id", ""),
        "ticker": trade.market,
        "count_fp": size_text(trade.change),
        "yes_price_dollars": texts[trade.price],
        "no_price_dollars": texts[DOLLAR - trade.price],
        "taker_side": side,
        "taker_outcome_side": side,
        "taker_book_side": book_side,
        "is_block_trade": body.get("is_block_trade", False),
        "created_time": format_rfc3339_us(trade.venue_us),
    }


def candle_document(candle: Candle) -> Document:
    texts = price_texts()

    def prices(values: list[int] | None) -> Document:
        names = ("open_dollars", "low_dollars", "high_dollars", "close_dollars")
        return {name: texts[values[i]] if values else None for i, name in enumerate(names)}

    mean = texts[sum(candle.price) // 4] if candle.price else None
    return {
        "end_period_ts": candle.end_us // US_PER_S,
        "yes_bid": prices(candle.bid),
        "yes_ask": prices(candle.ask),
        "price": {**prices(candle.price), "mean_dollars": mean, "previous_dollars": None},
        "volume_fp": size_text(candle.volume),
        "open_interest_fp": size_text(candle.open_interest),
    }


def merge_candles(candles: list[Candle], minutes: int) -> list[Candle]:
    """Minute candles to longer ones."""
    span_us = minutes * 60 * US_PER_S
    merged: list[Candle] = []
    for candle in candles:
        end_us = -(-candle.end_us // span_us) * span_us
        if not merged or merged[-1].end_us != end_us:
            price = list(candle.price) if candle.price else None
            merged.append(
                Candle(end_us, list(candle.bid), list(candle.ask), price, candle.volume, candle.open_interest)
            )
            continue
        last = merged[-1]
        _join(last.bid, candle.bid)
        _join(last.ask, candle.ask)
        if candle.price is not None:
            last.price = last.price or list(candle.price)
            _join(last.price, candle.price)
        last.volume += candle.volume
        last.open_interest = candle.open_interest
    return merged


def _join(into: list[int], later: list[int]) -> None:
    into[1], into[2], into[3] = min(into[1], later[1]), max(into[2], later[2]), later[3]


_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def status_document() -> Document:
    shard = {"exchange_index": 0, "description": "default"}
    active = {"exchange_active": True, "trading_active": True, "intra_exchange_transfers_active": True}
    return {**active, "exchange_estimated_resume_time": None, "exchange_index_statuses": [{**shard, **active}]}


def schedule_document() -> Document:
    """Open around the clock but for the weekly pause."""
    always = [{"open_time": "00:00", "close_time": "00:00"}]
    thursday = [{"open_time": "00:00", "close_time": "03:00"}, {"open_time": "05:00", "close_time": "00:00"}]
    hours: Document = {day: thursday if day == "thursday" else always for day in _WEEKDAYS}
    period = {"start_time": "2026-01-01T00:00:00Z", "end_time": "2036-01-01T00:00:00Z"}
    return {"schedule": {"standard_hours": [{**period, **hours}], "maintenance_windows": []}}
