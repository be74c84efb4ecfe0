"""Every REST route of the exchange: the public ones, and those behind the gate."""

from __future__ import annotations

from starlette.routing import Route

from kflow.exchange.account_rest import AccountRest
from kflow.exchange.gate import Gate
from kflow.exchange.market import Venue
from kflow.exchange.order_groups import OrderGroups
from kflow.exchange.portfolio import Portfolio
from kflow.exchange.rest import MarketData
from kflow.exchange.subaccounts import Subaccounts
from kflow.exchange.trade_rest import Trading


def exchange_routes(venue: Venue, gate: Gate) -> list[Route]:
    """Routes in the order in which they are tried."""
    account = AccountRest(gate)
    rooms = (Trading(gate), OrderGroups(gate), Portfolio(gate), Subaccounts(gate), account)
    signed = [gate.route(endpoint) for room in rooms for endpoint in room.endpoints()]
    # They are tried one by one: orders first, which are in the greatest hurry.
    return [*signed, *account.public_routes(), *MarketData(venue, gate.clock, gate).routes()]
