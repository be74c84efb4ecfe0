"""An account of the local exchange over real sockets: as REST tells it, and a whole run against the simulator."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from kflow.clock import SystemClock
from kflow.errors import VenueRefused
from kflow.evaluate.parity.bridge import TERMS, bridge
from kflow.evaluate.parity.log import AccountLog
from kflow.evaluate.parity.measures import agreement, fill_errors
from kflow.evaluate.parity.merge import combined, on_one_clock, since
from kflow.evaluate.parity.venue import AccountReader
from kflow.exchange.listing import Listing
from kflow.kalshi.environments import Environment, endpoints
from kflow.replay.tapes import Shelf, fees_of
from kflow.sim.fills import Assumptions
from kflow.testing.parity import live_run, read_account
from kflow.testing.trader import Trader, trading
from kflow.testing.venue import MARKET, LocalVenue, listing
from kflow.units import CONTRACT, DOLLAR

CASH = 10_000 * 1_000_000
OTHER = "INXD-25JAN03-B5937"


async def told(venue: LocalVenue, trader: Trader) -> AccountLog:
    return await read_account(venue.rest, trader.key)


async def test_an_order_its_fills_and_what_it_holds_back() -> None:
    """30 of the 100 asked at 46 are bought at once; 20 more are bid at 40, which holds back $8 and nothing for fees."""
    async with trading() as (venue, [trader, _]):
        await trader.order("bid", "0.46", "30", client_order_id="c0ffee")
        await trader.order("bid", "0.40", "20")
        log = await told(venue, trader)
    [bought, resting] = log.orders
    assert (bought.side, bought.price, bought.size, bought.client) == (0, 4600, 30 * CONTRACT, "c0ffee")
    assert [(fill.price, fill.size, fill.taker, fill.us) for fill in bought.fills] == [(4600, 3000, True, bought.us)]
    assert bought.cancelled_us is None
    assert (resting.filled, resting.fills, resting.cancelled_us) == (0, (), None)
    assert log.after is not None
    assert log.after.cash == CASH - 4600 * 3000 - bought.fills[0].fee
    assert log.after.positions == {MARKET: 3000}


async def test_a_buyer_of_no_is_told_in_prices_of_no() -> None:
    async with trading() as (venue, [trader, _]):
        await trader.order("ask", "0.44", "10", time_in_force="immediate_or_cancel")
        [sold] = (await told(venue, trader)).orders
    assert (sold.side, sold.price, [fill.price for fill in sold.fills]) == (1, 5600, [5600])


async def test_what_was_cancelled_and_what_was_immediate() -> None:
    async with trading() as (venue, [trader, _]):
        resting = await trader.order("bid", "0.40", "20")
        await trader.order("bid", "0.46", "150", time_in_force="immediate_or_cancel")
        await trader.send("DELETE", f"/portfolio/events/orders/{resting['order_id']}?market_ticker={MARKET}")
        [first, second] = (await told(venue, trader)).orders
    assert first.cancelled_us is not None
    assert first.cancelled_us > first.us
    assert not first.immediate
    assert (second.immediate, second.cancelled_us, second.got) == (True, second.us, 100 * CONTRACT)


async def test_a_settled_market_is_told_at_what_it_paid() -> None:
    async with trading() as (venue, [trader, _]):
        await trader.order("bid", "0.46", "10")
        venue.exchange.desk.clearing.settle(MARKET, "yes", DOLLAR, venue.exchange.desk.clearing.stamp())
        log = await told(venue, trader)
    assert log.settled == {MARKET: DOLLAR}
    assert log.after is not None
    assert log.after.positions == {}
    assert log.after.cash == CASH + (DOLLAR - 4600) * 1000 - log.orders[0].fills[0].fee


async def test_many_orders_come_in_pages() -> None:
    markets: list[str | Listing] = [MARKET, listing(OTHER)]
    async with trading(markets=markets) as (venue, [trader, _]):
        for _ in range(11):
            batch = [
                {
                    "ticker": OTHER,
                    "side": "bid",
                    "price": "0.01",
                    "count": "1",
                    "time_in_force": "good_till_canceled",
                    "self_trade_prevention_type": "maker",
                }
            ] * 100
            assert (await trader.send("POST", "/portfolio/events/orders/batched", {"orders": batch})).status_code == 201
        log = await told(venue, trader)
    assert len({order.order for order in log.orders}) == 1100
    assert log.after is not None
    assert log.after.cash == CASH


async def test_a_key_that_may_not_is_refused() -> None:
    async with trading() as (venue, [trader, _]):
        venue.exchange.access.revoke(trader.key.key_id)
        there = endpoints(Environment.LOCAL, exchange=venue.rest)
        async with AccountReader(there, clock=SystemClock(), key=trader.key) as reader:
            with pytest.raises(VenueRefused):
                await reader.read()


def test_a_run_on_the_local_exchange_is_explained_to_the_micro_dollar(tmp_path: Path) -> None:
    """A bot that crosses, joins, amends, withdraws and asks for too much, in markets that move 400 times a second."""
    sent, before, after, frames = asyncio.run(live_run(tmp_path, seed=3, orders=60, pause_s=0.02))
    log, _ = on_one_clock(since(combined(sent, after), before))
    [tape] = Shelf(tmp_path / "tapes").of_file(frames)
    found = bridge([tape], log, lambda tape: Assumptions(fees=fees_of(tape)[0]))
    assert len(log.orders) == len(sent.orders) > 20
    assert any(order.refused for order in log.orders)
    assert any(order.fills for order in log.orders)
    agreed = agreement(found)
    # The venue stamps what it takes and not what it refuses: where the book moved within that round trip, a refusal
    # may be simulated as an order that was taken. Whatever it took is taken alike.
    assert agreed.orders - agreed.alike == agreed.refused - agreed.refused_simulated <= 2
    assert agreed.orders == len(log.orders)
    assert found.in_book
    assert found.seen[0] == found.seen[1] > 0
    assert found.residual == 0
    assert found.disagreements == []
    assert found.live == sum(found.sum(term) for term in TERMS) != 0
    # Who takes at the real moment takes what was really there.
    [taker] = [row for row in fill_errors(found) if (row["orders_are"], row["way"]) == ("aggressive", "timed")]
    assert taker["vwap_ticks_absolute"] in (None, 0.0)


def test_a_fill_that_gets_lost_on_the_way_is_found(tmp_path: Path) -> None:
    sent, before, after, frames = asyncio.run(live_run(tmp_path, seed=4, orders=25, pause_s=0.01))
    filled = next(order for order in after.orders if order.fills)
    fewer = replace(filled, fills=filled.fills[1:])
    log = since(combined(sent, replace(after, orders=tuple(fewer if o is filled else o for o in after.orders))), before)
    found = bridge(Shelf(tmp_path / "tapes").of_file(frames), log, lambda tape: Assumptions(fees=fees_of(tape)[0]))
    lost = filled.fills[0]
    worth = found.worths[filled.market].value
    own = DOLLAR - worth if filled.side else worth
    assert found.residual == lost.size * (own - lost.price) - lost.fee
    assert any(filled.order in each for each in found.disagreements)
