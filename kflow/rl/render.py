"""An account before its market: the ladder as text, and as a picture with what became of it so far.

A ladder shows the nearest levels of both sides on the YES axis, YES bids below and offers (NO bids) above, and the
account's own orders at theirs, with the queue ahead of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from kflow.errors import UsageError
from kflow.rl import stepping, words
from kflow.rl.batch import Batch
from kflow.rl.picture import Picture, Point
from kflow.rl.sight import LEVELS, Level, Sight, look
from kflow.sim import kernel
from kflow.units import DOLLAR

MODES: Final = ("ansi", "rgb_array")
_BAR: Final = 12
_SIDE: Final = 22
_CENTRE: Final = _SIDE + 2 + 9 + 2 + _BAR + 2 + 3  # of the column of prices, see _row


def check_mode(mode: str | None, known: Sequence[str] = MODES) -> None:
    """Raises UsageError for a render mode that there is not."""
    if mode is not None and mode not in known:
        raise UsageError(f"there is no render mode {mode}", hint=f"choose {' or '.join(known)}")


class Screen:
    """Draws one account of a batch, and remembers for pictures what became of it in its episode."""

    def __init__(self, batch: Batch, account: int, mode: str) -> None:
        self._batch, self._account = batch, account
        self._picture = Picture() if mode == "rgb_array" else None
        self._points: list[Point] = []

    def note(self) -> None:
        """Remember this decision; call after each."""
        if self._picture is None:
            return
        row, seat = self._batch.state.account[self._account], self._batch.desk.seat[self._account]
        if not seat[stepping.STEPS]:
            self._points.clear()
        episode = self._batch.episode(self._account)
        if episode is None:
            return
        price = self._batch.dataset.groups[self._batch.dataset.spans[episode.span].group].market.price
        bid, ask = int(row[kernel.BID]), int(row[kernel.ASK])
        both = bid >= 0 and ask < len(price)
        mid = (int(price[bid]) + int(price[ask])) / 2 / DOLLAR if both else float("nan")
        seconds = float(seat[stepping.STEPS]) * self._batch.dataset.every_us / 1e6
        profit = int(seat[stepping.EQUITY] - seat[stepping.CASH]) / 1e6
        self._points.append(Point(seconds, mid, int(row[kernel.POSITION]) / 100, profit))

    def draw(self) -> Any:
        """A text, or a picture [H, W, 3] uint8. Raises UsageError before the first episode."""
        sight = look(self._batch, self._account)
        if self._picture is None:
            return ladder(sight)
        return self._picture.draw(sight, self._points)


def ladder(sight: Sight) -> str:
    """A moment as text, of the same number of lines always."""
    most = max([level.size for level in (*sight.bids, *sight.asks)], default=0.0)
    return "\n".join(
        line.rstrip()
        for line in (
            f"{sight.market}  {words.clock(sight.at_us)}  decision {sight.decision:,} of {sight.decisions:,}",
            (
                f"position {words.held(sight.position)}  equity ${sight.equity:,.2f} ({words.money(sight.profit)})"
                f"  cash ${sight.cash:,.2f}  fees ${sight.fees:,.2f}"
            ),
            f"takers in 10 s: {words.flow(sight)}  last trade: {words.last(sight)}",
            "",
            _row("own orders", "bids", "", "YES", "", "offers", "own orders"),
            *[""] * (LEVELS - len(sight.asks)),
            *(_offer(level, most) for level in reversed(sight.asks)),
            f"{f'— {words.spread(sight)} —':^{2 * _CENTRE}}",
            *(_bid(level, most) for level in sight.bids),
            *[""] * (LEVELS - len(sight.bids)),
            "",
        )
    )


def _offer(level: Level, most: float) -> str:
    size = f"{level.size:,.0f}" if level.size else ""
    return _row("", "", "", words.cents(level.price), _bar(level.size, most), size, words.own(level.own))


def _bid(level: Level, most: float) -> str:
    size = f"{level.size:,.0f}" if level.size else ""
    return _row(words.own(level.own), size, _bar(level.size, most), words.cents(level.price), "", "", "")


def _row(own: str, bids: str, bid_bar: str, price: str, offer_bar: str, offers: str, own_offers: str) -> str:
    left = f"{own:>{_SIDE}}  {bids:>9}  {bid_bar:>{_BAR}}"
    return f"{left}  {price:^6}  {offer_bar:<{_BAR}}  {offers:<9}  {own_offers}"


def _bar(size: float, most: float) -> str:
    """As long as it is of the most."""
    return "█" * round(_BAR * size / most) or "▏" if size else ""
