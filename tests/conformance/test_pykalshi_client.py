"""pykalshi-client 1.3.0 trades on the exchange: REST through its typed models, and the stream with sequence checks."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from kflow.testing.venue import LocalVenueProcess

from .conftest import RunSession

Frame = dict[str, Any]
Book = dict[tuple[str, str], dict[Decimal, Decimal]]  # levels by market and side


def test_pykalshi_client(run_session: RunSession, market_process: LocalVenueProcess) -> None:
    with market_process as venue:
        seen = run_session("pykalshi-client", *_bases(venue), venue.key_id, venue.private_key_path)
    assert seen["version"] == "1.3.0"
    assert len(seen["looked"]["tickers"]) == 3
    assert seen["looked"]["status"]["trading_active"] is True
    frames, market = seen["frames"], seen["market"]
    sequences_have_no_gap(frames)
    snapshots_repeat_the_book_made_of_deltas(frames, set(seen["looked"]["tickers"]))
    orders_change_as_asked(seen["changed"])
    groups_stop_their_orders(seen["grouped"])
    trades_are_booked_to_the_last_cent(seen["traded"])
    the_stream_tells_of_every_fill(frames, seen["traded"], market)
    the_stream_tells_of_every_change_of_orders(frames, seen)


def test_pykalshi_client_notices_a_lost_frame(run_session: RunSession, tmp_path: Path) -> None:
    """What its silence above is worth: one frame that never came ends the session."""
    script = tmp_path / "drop.toml"
    script.write_text('[[fault]]\nkind = "drop"\nafter_frames = 50\n')
    lossy = LocalVenueProcess("--synthetic", "quiet", "--markets", "3", "--rate", "400", "--fault", str(script))
    with lossy as venue:
        where = _bases(venue)
        with pytest.raises(AssertionError, match="KalshiSequenceGapError"):
            run_session("pykalshi-client", *where, venue.key_id, venue.private_key_path)


def _bases(venue: LocalVenueProcess) -> tuple[str, str]:
    """The client adds the paths itself."""
    return venue.rest.removesuffix("/trade-api/v2"), venue.ws.removesuffix("/trade-api/ws/v2")


def sequences_have_no_gap(frames: list[Frame]) -> None:
    """The client ends with an error at a gap; here every frame is counted, its kind regardless."""
    last: dict[int, int] = {}
    for frame in frames:
        if frame.get("seq") is not None:
            assert frame["seq"] == last.get(frame["sid"], 0) + 1, frame
            last[frame["sid"]] = frame["seq"]
    assert max(last.values()) > 600


def snapshots_repeat_the_book_made_of_deltas(frames: list[Frame], tickers: set[str]) -> None:
    book: Book = {}
    repeated: set[str] = set()
    for frame in frames:
        body = frame["msg"] if frame["type"].startswith("orderbook") else {}
        if frame["type"] == "orderbook_snapshot":
            sides = {side: _levels(body.get(f"{side}_dollars_fp", [])) for side in ("yes", "no")}
            for side, levels in sides.items():
                if "id" in frame:
                    assert book[body["market_ticker"], side] == levels
                    repeated.add(body["market_ticker"])
                book[body["market_ticker"], side] = levels
        elif frame["type"] == "orderbook_delta":
            levels = book[body["market_ticker"], body["side"]]
            price = Decimal(body["price_dollars"])
            left = levels.pop(price, Decimal(0)) + Decimal(body["delta_fp"])
            assert left >= 0
            if left:
                levels[price] = left
    assert repeated == tickers


def _levels(pairs: Iterable[tuple[str, str]]) -> dict[Decimal, Decimal]:
    return {Decimal(price): Decimal(size) for price, size in pairs}


def orders_change_as_asked(changed: dict[str, Any]) -> None:
    placed, fetched = changed["placed"], changed["fetched"]["order"]
    assert (placed["client_order_id"], placed["fill_count"], placed["remaining_count"]) == ("far-1", "0.00", "10.00")
    assert (fetched["status"], fetched["yes_price_dollars"], fetched["book_side"]) == ("resting", "0.0200", "bid")
    status, body = changed["duplicate"]
    assert (status, body["error"]["code"]) == (409, "order_already_exists")
    amended = changed["amended"]
    assert (amended["client_order_id"], amended["remaining_count"]) == ("far-2", "8.00")
    assert changed["decreased"]["remaining_count"] == "5.00"
    (resting,) = changed["resting"]["orders"]
    assert (resting["order_id"], resting["yes_price_dollars"]) == (amended["order_id"], "0.0300")
    assert (resting["remaining_count_fp"], resting["client_order_id"]) == ("5.00", "far-2")
    (queue,) = changed["queues"]["queue_positions"]
    assert (queue["order_id"], queue["queue_position_fp"]) == (
        amended["order_id"], changed["queue"]["queue_position_fp"],
    )  # fmt: skip
    assert changed["canceled"]["reduced_by"] == "5.00"
    status, body = changed["again"]
    assert (status, body["error"]["code"]) == (404, "not_found")
    first, second, bad = changed["batch"]["orders"]
    assert (first["remaining_count"], second["remaining_count"]) == ("1.50", "1.50")
    assert (bad["client_order_id"], bad["error"]["code"]) == ("batch-2", "invalid_price")
    *canceled, gone = changed["batch_canceled"]["orders"]
    assert [order["reduced_by"] for order in canceled] == ["1.50", "1.50"]
    assert (gone["reduced_by"], gone["error"]["code"]) == ("0.00", "not_found")
    assert {"far-2", "batch-0", "batch-1"} <= {o["client_order_id"] for o in changed["canceled_orders"]["orders"]}
    status, body = changed["retired"]
    assert (status, body["error"]["code"]) == (410, "deprecated_v1_order_endpoint")


def groups_stop_their_orders(grouped: dict[str, Any]) -> None:
    assert [(g["id"], g["contracts_limit_fp"]) for g in grouped["listed"]["order_groups"]] == [
        (grouped["id"], "100.00")
    ]
    assert len(grouped["filled"]["orders"]) == 1
    assert grouped["triggered"]["orders"] == []
    assert grouped["fallen"]["order"]["status"] == "canceled"
    assert grouped["refused"][0] in (400, 409), grouped["refused"]
    assert grouped["deleted_with"]["order"]["status"] == "canceled"
    assert grouped["left"]["order_groups"] == []


def trades_are_booked_to_the_last_cent(traded: dict[str, Any]) -> None:
    bought, sold = traded["bought"], traded["sold"]
    fills = {order["order_id"]: _fills_of(traded, order["order_id"]) for order in (bought, sold)}
    for order, mine in zip((bought, sold), fills.values(), strict=True):
        assert (order["fill_count"], order["remaining_count"]) == ("5.25", "0.00")
        assert sum(Decimal(fill["count_fp"]) for fill in mine) == Decimal("5.25")
        paid = sum((Decimal(f["count_fp"]) * Decimal(f["yes_price_dollars"]) for f in mine), Decimal(0))
        assert abs(Decimal(order["average_fill_price"]) * Decimal("5.25") - paid) < Decimal("0.001")
    spent = _balance(traded["before"]) - _balance(traded["after"])
    assert spent == _value(fills[bought["order_id"]]) + _fees(fills[bought["order_id"]])
    earned = _balance(traded["last"]) - _balance(traded["after"])
    assert earned == _value(fills[sold["order_id"]]) - _fees(fills[sold["order_id"]])
    (held,) = traded["held"]["market_positions"]
    assert held["position_fp"] == "5.25"
    assert all(entry["position_fp"] == "0.00" for entry in traded["flat"]["market_positions"])
    status, body = traded["killed"]
    assert (status, body["error"]["code"]) == (409, "fill_or_kill_insufficient_resting_volume")


def _fills_of(traded: dict[str, Any], order_id: str) -> list[Frame]:
    return [fill for fill in traded["fills"]["fills"] if fill["order_id"] == order_id]


def _balance(document: Frame) -> Decimal:
    return Decimal(document["balance_dollars"])


def _value(fills: list[Frame]) -> Decimal:
    return sum((Decimal(fill["count_fp"]) * Decimal(fill["yes_price_dollars"]) for fill in fills), Decimal(0))


def _fees(fills: list[Frame]) -> Decimal:
    return sum((Decimal(fill["fee_cost"]) for fill in fills), Decimal(0))


def the_stream_tells_of_every_fill(frames: list[Frame], traded: dict[str, Any], market: str) -> None:
    """Fills of the stream are those of REST, each is a public trade too, and positions add up."""
    told = {frame["msg"]["trade_id"]: frame["msg"] for frame in frames if frame["type"] == "fill"}
    booked = {fill["trade_id"]: fill for fill in traded["fills"]["fills"]}
    assert told.keys() == booked.keys()
    for trade_id, fill in booked.items():
        for name in ("order_id", "count_fp", "yes_price_dollars", "book_side", "is_taker"):
            assert told[trade_id][name] == fill[name], name
        assert Decimal(told[trade_id]["fee_cost"]) == Decimal(fill["fee_cost"])
    traded_publicly = {frame["msg"]["trade_id"] for frame in frames if frame["type"] == "trade"}
    assert told.keys() <= traded_publicly
    position = Decimal(0)
    for frame in frames:
        if frame["type"] == "fill":
            body = frame["msg"]
            position += Decimal(body["count_fp"]) * (1 if body["book_side"] == "bid" else -1)
            assert Decimal(body["post_position_fp"]) == position
    positions = [frame["msg"] for frame in frames if frame["type"] == "market_position"]
    assert {body["market_ticker"] for body in positions} == {market}
    assert Decimal(positions[-1]["position_fp"]) == 0


def the_stream_tells_of_every_change_of_orders(frames: list[Frame], seen: dict[str, Any]) -> None:
    changes: dict[str, list[tuple[str, str]]] = {}
    for frame in frames:
        if frame["type"] == "user_order":
            body = frame["msg"]
            changes.setdefault(body["client_order_id"], []).append((body["status"], body["remaining_count_fp"]))
    assert changes["far-1"][0] == ("resting", "10.00")
    assert changes["far-2"] == [("resting", "8.00"), ("resting", "5.00"), ("canceled", "0.00")]
    assert changes["batch-0"] == [("resting", "1.50"), ("canceled", "0.00")]
    assert changes["take-1"][-1] == ("executed", "0.00")
    assert changes["group-1"][-1][0] == "canceled"
    groups = [frame["msg"] for frame in frames if frame["type"] == "order_group_updates"]
    assert [body["event_type"] for body in groups] == ["created", "triggered", "reset", "deleted"]
    mine = [f["msg"] for f in frames if f["type"] == "orderbook_delta" and "client_order_id" in f["msg"]]
    assert {"far-1", "far-2", "batch-0"} <= {body["client_order_id"] for body in mine}, (
        "own changes of the book are marked"
    )
