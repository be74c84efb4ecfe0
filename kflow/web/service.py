"""What the HTTP service serves: handles to a running recorder, and values. It owns none of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from kflow.act.pulse import DISABLED, Sign
from kflow.act.standing import StandingFile
from kflow.clock import Clock
from kflow.kalshi.feed import FeedStatus
from kflow.record.books import Books
from kflow.record.status import RecorderStatus
from kflow.record.trades import LastTrades
from kflow.record.writer import WriterStatus
from kflow.web.access import Access


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One recording session, as the web sees it."""

    books: Books
    trades: LastTrades
    recorder: RecorderStatus
    feed: FeedStatus
    clock: Clock
    access: Access
    # Whether an actor may trade, by the data folder, and how it is halted without its help.
    standing: StandingFile = field(repr=False)
    # Begins an orderly end of the session. Called on the loop's thread; returns at once.
    stop: Callable[[], None] = field(repr=False)
    # True from the moment the session was asked to end.
    draining: Callable[[], bool] = lambda: False
    # None until the database has been reached once.
    writer: Callable[[], WriterStatus | None] = lambda: None
    # What the data folder tells of an actor. Called on the loop's thread; returns at once.
    actor: Callable[[], Sign] = lambda: Sign(DISABLED, (), None, None)
    # The number the database gave the session; None until it did.
    session_number: Callable[[], int | None] = lambda: None
    # Tickers that are recorded; the first is what /rl/orderbook/snapshot shows unasked.
    markets: tuple[str, ...] = ()
    # Settings by name, as they may be shown: whoever builds the service leaves secrets out.
    configuration: Mapping[str, object] = field(default_factory=dict)

    def known(self) -> list[str]:
        """Every market that is recorded, in the order they were asked for."""
        return list(dict.fromkeys((*self.markets, *self.books.markets())))
