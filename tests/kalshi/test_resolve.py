"""From typed names to markets, against a real server on loopback."""

from __future__ import annotations

from typing import Any

import pytest

from kflow.errors import UnknownTicker, UsageError, VenueRefused
from kflow.kalshi.environments import Environment
from kflow.kalshi.resolve import Resolution, Selection, resolve
from kflow.kalshi.rest import RestClient
from kflow.market.times import format_rfc3339_us

EVENT = "KXINX-26NOV23H1600"


async def ask(venue: Any, clock: Any, **wanted: Any) -> Resolution:
    async with RestClient(venue.endpoints, clock=clock) as client:
        return await resolve(client, Selection(**wanted))


def tickers(resolution: Resolution) -> list[str]:
    return [market.ticker for market in resolution.markets]


@pytest.fixture
def ladder(venue: Any) -> Any:
    """An event of five markets, listed out of order, one of them paused."""
    venue.add_market(f"{EVENT}-T6900", strike_type="greater", floor_strike=6900, cap_strike=None, volume_fp="3.00")
    venue.add_market(f"{EVENT}-B6850", floor_strike=6800, cap_strike=6899.99)
    venue.add_market(f"{EVENT}-B6787", floor_strike=6775, cap_strike=6799.99)
    venue.add_market(f"{EVENT}-B6760", floor_strike=6750, cap_strike=6774.99, status="inactive")
    venue.add_market(f"{EVENT}-T6750", strike_type="less", floor_strike=None, cap_strike=6750)
    venue.add_series("KXINX", EVENT)
    return venue


async def test_a_market_is_itself(ladder: Any, clock: Any) -> None:
    found = await ask(ladder, clock, markets=(f" {EVENT.lower()}-b6787 ",))
    assert (tickers(found), found.notes) == ([f"{EVENT}-B6787"], ())
    assert ladder.paths() == [f"/markets/{EVENT}-B6787"]


async def test_an_event_is_its_trading_markets_by_strike(ladder: Any, clock: Any) -> None:
    found = await ask(ladder, clock, markets=(EVENT,))
    assert tickers(found) == [f"{EVENT}-{strike}" for strike in ("T6750", "B6787", "B6850", "T6900")]
    assert found.notes == (f"{EVENT} is an event: taking 4 of its 5 markets",)
    assert ladder.paths() == [f"/markets/{EVENT}", f"/events/{EVENT}"]


async def test_an_event_with_those_that_do_not_trade(ladder: Any, clock: Any) -> None:
    found = await ask(ladder, clock, events=(EVENT,), include_inactive=True)
    assert tickers(found)[1] == f"{EVENT}-B6760"
    assert len(found.markets) == 5
    assert ladder.paths() == [f"/events/{EVENT}"]


async def test_a_series_is_its_next_events(ladder: Any, clock: Any) -> None:
    ladder.add_market("KXINX-26NOV22H1600-B1", close_time="2026-11-22T21:00:00Z")
    ladder.add_market("KXINX-26NOV30H1600-B1", close_time="2026-11-30T21:00:00Z")
    ladder.add_series("KXINX", "KXINX-26NOV30H1600", EVENT, "KXINX-26NOV22H1600")
    assert tickers(await ask(ladder, clock, markets=("KXINX",))) == ["KXINX-26NOV22H1600-B1"]
    two = await ask(ladder, clock, series=("kxinx",), next=2)
    assert (len(two.markets), two.markets[-1].event_ticker) == (5, EVENT)
    assert two.notes[0] == "KXINX is a series: taking its event KXINX-26NOV22H1600"
    assert two.notes[2] == f"KXINX is a series: taking its event {EVENT}"


async def test_a_market_named_twice_comes_once(ladder: Any, clock: Any) -> None:
    found = await ask(ladder, clock, markets=(f"{EVENT}-T6900", EVENT, EVENT), series=("KXINX",))
    assert len(found.markets) == len(set(tickers(found))) == 4
    assert tickers(found)[0] == f"{EVENT}-T6900"


# Names that are none


@pytest.mark.parametrize(
    ("name", "suggestions"),
    [
        ("INXD-25JAN03", (f"{EVENT} (5 markets)",)),  # the series was renamed
        ("INX-26NOV23H1600", (f"{EVENT} (5 markets)",)),  # it lacks KX
        (f"{EVENT.removeprefix('KX')}-B6787", (f"{EVENT}-B6787", f"{EVENT} (5 markets)")),
        (f"{EVENT}-B9999", (f"{EVENT} (5 markets)",)),  # a strike that is not there
        ("KXINX-99DEC31", (f"{EVENT} (5 markets)",)),  # a day that is not there
        ("NOPE-1", ()),
    ],
)
async def test_an_unknown_name_is_suggested_near_ones(
    ladder: Any, clock: Any, name: str, suggestions: tuple[str, ...]
) -> None:
    with pytest.raises(UnknownTicker) as unknown:
        await ask(ladder, clock, markets=(name,))
    assert unknown.value.suggestions == suggestions
    assert unknown.value.exit_code == 2


async def test_what_exists_is_taken_even_under_an_old_name(ladder: Any, clock: Any) -> None:
    ladder.add_market("INXD-25JAN03-B5862")
    found = await ask(ladder, clock, markets=("INXD-25JAN03",))
    assert tickers(found) == ["INXD-25JAN03-B5862"]
    assert found.notes == ("INXD-25JAN03 is an event: taking 1 of its 1 markets",)


async def test_a_series_without_an_open_event_is_suggested_as_such(venue: Any, clock: Any) -> None:
    venue.add_series("KXINX")
    with pytest.raises(UnknownTicker, match="INXD-25JAN03") as unknown:
        await ask(venue, clock, markets=("INXD-25JAN03",))
    assert unknown.value.hint == "did you mean KXINX?"
    with pytest.raises(UsageError, match="series KXINX has no open event now"):
        await ask(venue, clock, markets=("KXINX",))


async def test_an_event_asked_for_by_a_markets_name(ladder: Any, clock: Any) -> None:
    with pytest.raises(UnknownTicker) as unknown:
        await ask(ladder, clock, events=(f"{EVENT}-B6787",))
    assert unknown.value.suggestions == (EVENT,)
    with pytest.raises(UnknownTicker):
        await ask(ladder, clock, series=(EVENT,))


async def test_trouble_is_not_an_unknown_name(venue: Any, clock: Any, answer: Any) -> None:
    venue.answers["/markets/A-B-C"] = answer(403, {"error": {"code": "forbidden"}})
    with pytest.raises(VenueRefused, match="HTTP 403"):
        await ask(venue, clock, markets=("A-B-C",))


async def test_a_name_that_cannot_be_one_is_not_asked_for(venue: Any, clock: Any) -> None:
    with pytest.raises(UsageError, match="is not a ticker"):
        await ask(venue, clock, markets=("../../portfolio",))
    assert venue.asked == []


@pytest.mark.parametrize("wanted", [{}, {"markets": ("", " ")}])
async def test_nothing_asked_for_is_an_error(venue: Any, clock: Any, wanted: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="no market is named"):
        await ask(venue, clock, **wanted)


# Markets that do not trade


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        (
            {"status": "finalized", "result": "yes", "settlement_ts": "2026-11-21T21:01:00Z"},
            "is finalized with result yes since 2026-11-21T21:01:00Z",
        ),
        ({"status": "closed", "close_time": "2026-11-21T21:00:00Z"}, "is closed since 2026-11-21T21:00:00Z"),
        ({"status": "initialized", "open_time": "2026-11-25T15:00:00Z"}, "opens at 2026-11-25T15:00:00Z"),
        ({"status": "inactive"}, "is paused by the venue"),
    ],
)
async def test_a_named_market_that_does_not_trade(venue: Any, clock: Any, fields: dict[str, Any], state: str) -> None:
    venue.add_market("A-B-1", **fields)
    with pytest.raises(UsageError, match=f"^market A-B-1 has nothing to record: it {state}$"):
        await ask(venue, clock, markets=("A-B-1",))
    with pytest.raises(UsageError, match=f"^event A-B has nothing to record: A-B-1 {state}$"):
        await ask(venue, clock, markets=("A-B",))
    found = await ask(venue, clock, markets=("A-B-1",), include_inactive=True)
    assert found.notes == (f"A-B-1 {state}: its book will be silent until it trades",)


async def test_an_old_event_is_looked_up_in_the_archive(venue: Any, clock: Any) -> None:
    old = venue.add_market("A-B-1", status="finalized", result="no", settlement_ts="2025-01-03T22:00:00Z")
    venue.answers["/events/A-B"]["event"]["markets"] = []
    venue.answers["/historical/markets"] = {"markets": [old], "cursor": ""}
    with pytest.raises(UsageError, match="A-B-1 is finalized with result no since 2025-01-03T22:00:00Z") as refused:
        await ask(venue, clock, markets=("A-B",))
    assert "candlesticks and trades" in refused.value.hint
    assert venue.asked[-1].query[0] == ("event_ticker", "A-B")
    del venue.answers["/historical/markets"]
    with pytest.raises(UsageError, match="the venue lists no market of it"):
        await ask(venue, clock, markets=("A-B",))


# Everything


async def test_everything_open_that_traded_enough(ladder: Any, clock: Any) -> None:
    ladder.add_market("KXHIGH-26NOV23-B1", volume_fp="2000000.00")
    ladder.add_market("KXHIGH-26NOV23-B2", volume_fp=None)
    listed = [ladder.answers[f"/events/{event}"]["event"] for event in (EVENT, "KXHIGH-26NOV23")]
    ladder.answers["/events"] = [{"events": listed[:1], "cursor": "2"}, {"events": listed[1:], "cursor": ""}] * 2
    everything = await ask(ladder, clock, all=True)
    assert (len(everything.markets), everything.notes) == (6, ("taking 6 of the venue's 7 markets",))
    busy = await ask(ladder, clock, all=True, min_volume=10)
    assert tickers(busy) == [f"{EVENT}-{s}" for s in ("T6750", "B6787", "B6850")] + ["KXHIGH-26NOV23-B1"]
    assert busy.notes == ("taking 4 of the venue's 7 markets that traded at least 10 contracts",)
    with pytest.raises(UsageError, match="no market is open that traded at least 3000000 contracts"):
        await ask(ladder, clock, all=True, min_volume=3_000_000)


async def test_too_many_markets_are_refused_not_cut(ladder: Any, clock: Any) -> None:
    with pytest.raises(UsageError, match="has 4 markets, more than --max-markets 3") as refused:
        await ask(ladder, clock, markets=(EVENT,), max_markets=3)
    assert refused.value.hint.endswith("--max-markets 4")


async def test_the_venues_list_of_open_markets_lags(ladder: Any, clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A market past its close is still listed as open for half a minute; a local exchange may serve another day."""
    just_now = format_rfc3339_us(clock.wall_ns() // 1000 - 1)
    ladder.add_market("KXINX-26NOV22H0900-B1", close_time=just_now)
    ladder.add_series("KXINX", "KXINX-26NOV22H0900", EVENT)
    assert tickers(await ask(ladder, clock, series=("KXINX",))) == ["KXINX-26NOV22H0900-B1"]
    # The rule follows the environment alone, and no test may ask the venue itself.
    object.__setattr__(ladder.endpoints, "environment", Environment.DEMO)
    assert (await ask(ladder, clock, series=("KXINX",))).markets[0].event_ticker == EVENT
