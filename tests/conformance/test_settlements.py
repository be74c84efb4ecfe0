"""Every client reads the same of markets that were settled to YES, to NO and to a value between."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from kflow.exchange.accounts import Ticket
from kflow.exchange.orders import TimeInForce
from kflow.exchange.server import ExchangeOptions
from kflow.exchange.source import MatchedSource
from kflow.market.events import Side
from kflow.testing.venue import LocalVenue, listing, some_levels
from kflow.units import Price, Size

from .conftest import RunSession
from .install import clients

WON, LOST, SCALAR = (f"INXD-25JAN03-B{strike}" for strike in (5912, 5937, 5962))
# Bought YES at 46 cents, sold YES at 44 (which is to buy NO at 56), bought YES again: ten contracts each.
PAID: Final = {
    WON: ["yes", "10.00", "0.00", "4.60", "10.00"],
    LOST: ["no", "0.00", "10.00", "5.60", "10.00"],
    SCALAR: ["scalar", "10.00", "0.00", "4.60", "2.50"],
}


@pytest.mark.parametrize("client", clients())
async def test_settlements(client: str, run_session: RunSession) -> None:
    markets = (WON, LOST, SCALAR)
    source = MatchedSource([listing(ticker) for ticker in markets], {ticker: some_levels() for ticker in markets})
    async with LocalVenue(source=source, options=ExchangeOptions(source=source, rsa=True)) as venue:
        desk, control = venue.exchange.desk, venue.exchange.control
        account = desk.account(venue.exchange.holders[0].user_id)
        for ticker, side, price in ((WON, Side.YES, 4600), (LOST, Side.NO, 4400), (SCALAR, Side.YES, 4600)):
            ticket = Ticket(
                ticker=ticker, side=side, price=Price(price), size=Size(1000), time_in_force=TimeInForce.IOC
            )
            assert desk.create(account, ticket).filled == 1000
        for ticker, value in ((WON, 10_000), (LOST, 0), (SCALAR, 2500)):
            control.determine(ticker, Price(value))
            control.settle(ticker, Price(value))
        desk.flush()
        where = (venue.rest, venue.ws, venue.key_id, venue.private_key_path)
        seen = await asyncio.to_thread(run_session, client, client, *where, script="settlements_session.py")
    assert seen["settlements"] == PAID
