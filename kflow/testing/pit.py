"""A trading half without sockets: markets that are matched, accounts, and every message that would have gone out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kflow.clock import Clock, SystemClock
from kflow.exchange.accounts import Account, Ticket, UserOrder
from kflow.exchange.clearing import Clearing
from kflow.exchange.control import Control
from kflow.exchange.desk import Desk
from kflow.exchange.listing import Listing
from kflow.exchange.market import Venue
from kflow.exchange.matching import OrderBook
from kflow.exchange.messages import Message
from kflow.exchange.orders import TimeInForce
from kflow.exchange.scene import Scene, SyntheticOptions
from kflow.exchange.source import MatchedSource
from kflow.exchange.terms import Terms
from kflow.market.events import Level, Side
from kflow.testing.venue import MARKET, listing
from kflow.units import Money, Price, parse_money, parse_price, parse_size


class Pit:
    """A desk whose messages are kept; `messages` are those that were published, in order."""

    def __init__(
        self,
        *,
        markets: Sequence[str | Listing] = (MARKET,),
        books: Mapping[str, tuple[Sequence[Level], Sequence[Level]]] | None = None,
        terms: Terms | None = None,
        clock: Clock | None = None,
    ) -> None:
        listings = [entry if isinstance(entry, Listing) else listing(entry) for entry in markets]
        self.venue = Venue()
        self.messages: list[Message] = []
        self.clearing = Clearing(self.venue, clock or SystemClock(), terms or Terms(), self._publish)
        self.desk = Desk(self.clearing)
        self.control = Control(self.desk)
        MatchedSource(listings, books or {}).prepare(self.control, self.clearing.time())

    def _publish(self, messages: Sequence[Message]) -> None:
        self.venue.apply(messages)
        self.messages += messages

    def account(self, dollars: str = "10000", user_id: str = "") -> Account:
        """A new member's account."""
        name = user_id or f"user-{len(self.desk.members) + 1}"
        return self.desk.open_account(name, parse_money(dollars))

    def engine(self, market: str = MARKET) -> OrderBook:
        engine = self.clearing.markets[market].engine
        assert isinstance(engine, OrderBook)
        return engine

    def bid(self, account: Account, price: str, size: str, **more: object) -> UserOrder:
        """Place an order to buy YES, and publish what came of it."""
        return self.place(account, Side.YES, price, size, **more)

    def ask(self, account: Account, price: str, size: str, **more: object) -> UserOrder:
        """Place an order to sell YES, and publish what came of it."""
        return self.place(account, Side.NO, price, size, **more)

    def place(self, account: Account, side: Side, price: str, size: str, **more: object) -> UserOrder:
        """`more`: other fields of the ticket."""
        facts = {"ticker": MARKET, "side": side, "price": parse_price(price), "size": parse_size(size), **more}
        order = self.desk.create(account, Ticket(**facts))  # type: ignore[arg-type]
        self.desk.flush()
        return order

    def take(self, account: Account, side: Side, price: str, size: str, **more: object) -> UserOrder:
        """The same, immediate or cancel."""
        return self.place(account, side, price, size, time_in_force=TimeInForce.IOC, **more)

    def settle(self, value: Price, market: str = MARKET) -> None:
        """Determine and pay out."""
        self.control.determine(market, value)
        self.control.settle(market, value)
        self.desk.flush()

    def wealth(self) -> Money:
        """All cash of all accounts and all fees taken: what must never change by trading alone."""
        cash = sum(
            [
                amount
                for member in self.desk.members.values()
                for account in member.accounts.values()
                for amount in account.cash.values()
            ]
        )
        return Money(cash + self.clearing.collected)


def synthetic(options: SyntheticOptions, start_us: int) -> tuple[Pit, Scene]:
    """Made-up markets with a pit of their own, in the scene's time."""
    pit = Pit(markets=())
    pit.clearing.time = lambda: start_us
    scene = Scene(options, pit.control, start_us)
    pit.desk.flush()
    pit.clearing.time = lambda: scene.now_us
    return pit, scene


def play(scene: Scene) -> None:
    """One stretch of a scene, as fast as it goes."""
    for event in scene.plan():
        scene.act(event)
    scene.pass_to(scene.end_us())
    scene.flush()
