"""The window onto the last trades: how much of them is kept, and what is told of those that are not."""

from __future__ import annotations

from typing import Any

from kflow.market.events import BookDelta, Side, Trade
from kflow.record.trades import LastTrades, Seen
from kflow.units import Price, Size

WALL_NS = 1_700_000_000_123_456_789


def trade(market: str, number: int = 0, **changed: Any) -> Trade:
    values: dict[str, Any] = {"taker": 0, "venue_ms": 1000 + number, **changed}
    return Trade(market, 2, number, f"t{number}", Price(4600), Size(100 + number), is_block=None, **values)


def delta(market: str) -> BookDelta:
    return BookDelta(market, 1, 7, Side.YES, Price(4300), Size(100), Size(5100), None, 5)


def test_trades_are_kept_oldest_first_and_other_events_are_not() -> None:
    trades = LastTrades()
    assert trades.take([trade("A", 1), delta("A"), trade("B", 2), trade("A", 3, taker=1)], WALL_NS) == {"A", "B"}
    assert trades.take([delta("C")], WALL_NS) == set()
    assert trades.since("A", 0) == [Seen(1001, 4600, 101, 0), Seen(1003, 4600, 103, 1)]
    assert (trades.count("A"), trades.count("B"), trades.count("C")) == (2, 1, 0)
    assert trades.last("A") == Seen(1003, 4600, 103, 1)
    assert trades.last("C") is None


def test_what_the_venue_does_not_say_is_not_invented() -> None:
    trades = LastTrades()
    trades.take([trade("A", taker=None, venue_ms=None)], WALL_NS)
    assert trades.last("A") == Seen(1_700_000_000_123, 4600, 100, None)


def test_what_is_new_since_a_look() -> None:
    trades = LastTrades(each=3)
    trades.take([trade("A", number) for number in range(5)], WALL_NS)
    assert [seen.at_ms for seen in trades.since("A", 4)] == [1004]
    assert trades.since("A", 5) == []
    # Two are gone: whoever had none sees the last three.
    assert [seen.at_ms for seen in trades.since("A", 0)] == [1002, 1003, 1004]


def test_all_markets_together_are_bounded_and_the_quietest_is_forgotten_first() -> None:
    trades = LastTrades(each=3, most=5)
    for market in ("A", "B", "A", "C", "A", "D"):
        trades.take([trade(market)], WALL_NS)
    assert trades.since("B", 0) == []
    assert trades.count("B") == 1  # that there was one is known all the same
    assert [len(trades.since(market, 0)) for market in "ACD"] == [3, 1, 1]
    for number in range(1000):
        trades.take([trade(f"M{number}")], WALL_NS)
    assert trades._total == sum(map(len, trades._kept.values())) == 5
