"""How a recorder looks, as text."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from kflow.cli import beside
from kflow.cli.ladder import ladder
from kflow.cli.panels import Glance, ladders_that_fit, line, screen
from kflow.market.book import BookView
from kflow.testing.recording import FIRST, SECOND, HandDriven
from kflow.web.pulse import Pulse
from kflow.web.status import status_json


def text_of(renderable: Any, width: int = 100) -> str:
    out = io.StringIO()
    Console(file=out, width=width, highlight=False).print(renderable)
    return out.getvalue()


def squeezed(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture
def session(tmp_path: Path) -> HandDriven:
    session = HandDriven(tmp_path)
    session.start()
    return session


def glance(session: HandDriven, **changed: Any) -> Glance:
    service = session.service()
    pulse = Pulse(service)
    pulse.look()
    book = session.books.view(FIRST)
    assert book is not None
    # Through JSON and back: what a terminal elsewhere knows.
    status = msgspec.json.decode(msgspec.json.encode(status_json(service, pulse)))
    return Glance(**{"status": status, "books": (book,), **changed})


def test_a_ladder_has_asks_above_bids_and_the_spread_between(session: HandDriven) -> None:
    book = session.books.view(FIRST)
    assert book is not None
    lines = [squeezed(text) for text in text_of(ladder(book)).splitlines()]
    assert lines[0] == FIRST
    shown = lines[3:]
    assert shown == ["0.4600 100.00 ▪▪▪▪▪▪", "2¢", "▪ 12.50 0.4400", "▪▪▪ 50.00 0.4300"]


def test_a_ladder_shows_the_best_levels_only() -> None:
    levels = tuple((price, 100) for price in range(100, 5000, 100))
    text = text_of(ladder(BookView("M", 1, True, levels, ()), levels=3))  # type: ignore[arg-type]
    assert [word for word in text.split() if word.startswith("0.")] == ["0.4900", "0.4800", "0.4700"]
    assert "one-sided" in text
    assert "empty" in text_of(ladder(BookView("M", 1, True, (), ())))


def test_a_stale_book_says_so(session: HandDriven) -> None:
    session.receive(session.delta("0.4300", "1.00", skip=1))
    shown = glance(session)
    assert "stale: last known" in text_of(screen(shown))
    assert f"{FIRST}=0.4400/0.4600 stale" in line(shown)


def test_everything_that_matters_is_there(session: HandDriven) -> None:
    session.receive(session.delta("0.4300", "1.00"))
    session.clock.advance(3700)
    text = squeezed(text_of(screen(glance(session, footer="q quits"))))
    for words in (
        "kflow session 7 · up 1 h 1 min · healthy",
        "feed connected, 0 reconnects, last message 1 h 1 min ago",
        "messages 3 (—/s)",
        "venue to us 5 ms p50, 5 ms p99",
        "books 2 live, 0 stale, 0 without a snapshot",
        "gaps 0, 0 messages missing",
        "database connected, 0 rows, 0.0 s, 0 messages behind",
        "q quits",
    ):
        assert words in text


def test_problems_are_sentences(session: HandDriven) -> None:
    session.disconnect()
    session.writer = None
    session.recorder.status.journal_failed = True
    text = squeezed(text_of(screen(glance(session)), width=200))
    assert "! the journal cannot be written" in text
    assert "! the database has not been reached yet" in text
    assert "feed not connected for 0.0 s" in text
    assert "CANNOT BE WRITTEN" in text


def test_a_line_for_output_that_is_no_terminal(session: HandDriven) -> None:
    assert line(glance(session)) == (f"healthy  messages=2  rate=—/s  lag=0.0s  gaps=0  {FIRST}=0.4400/0.4600")


def test_silence_tells_its_age(session: HandDriven) -> None:
    assert "last heard" not in text_of(screen(glance(session, age_s=2.9)))
    old = glance(session, age_s=65.0, trouble="no recorder answers")
    assert "last heard 1 min 5 s ago: no recorder answers" in squeezed(text_of(screen(old), width=200))
    assert line(old).endswith("stale=1 min 5 s no recorder answers")


def test_before_the_first_news() -> None:
    assert "waiting for the recorder" in text_of(screen(Glance(status=None)))
    assert line(Glance(status=None, trouble="no recorder answers")) == "no recorder answers"


def test_names_cannot_steer_the_terminal(session: HandDriven) -> None:
    evil = BookView("\x1b]0;owned\x07[red]M", 1, True, (), ())
    shown = glance(session, books=(evil,))
    for text in (text_of(screen(shown)), line(shown)):
        assert "\x1b" not in text
        assert "\x07" not in text
        assert "[red]M" in text


@pytest.mark.parametrize("height", [1, 10, 24, 200])
@pytest.mark.parametrize("width", [20, 80, 300])
def test_any_terminal_will_do(session: HandDriven, width: int, height: int) -> None:
    second = session.books.view(SECOND)
    assert second is not None
    shown = glance(session, books=(second, second, second), state=STATE, trades=TRADES, rates=(1.0,) * 60)
    lines = text_of(screen(shown, height=height, width=width), width=width).splitlines()
    assert all(len(text) <= width for text in lines)
    if width >= 80 and height >= 24:
        assert len(lines) <= height


# --- what the stream tells besides books


def order(side: str, price: int, ahead: int | None = 1250) -> dict[str, Any]:
    named = {"id": "3c1d", "market": FIRST, "side": side, "action": "buy"}
    return {**named, "price_e4": price, "left_e2": 100, "ahead_e2": ahead}


ACTOR: dict[str, Any] = {
    "status": "healthy", "standing": "active", "venue": "paper", "run": "0b7e", "strategy": "hardcoded:join",
    "age_s": 0.4, "problems": [], "orders": [order("yes", 4400), order("no", 5300, None)], "orders_left_out": 0,
    "positions": [{"market": FIRST, "yes_e2": -300}], "cash_e6": 999_000_000, "profit_e6": -1_250_000,
}  # fmt: skip
NOBODY = {**ACTOR, "status": "disabled", "orders": [], "positions": [], "cash_e6": None, "profit_e6": None}
STATE: dict[str, Any] = {
    "type": "state",
    "markets": [[FIRST, True, 4400, 4600, 4500, 12.0], [SECOND, False, 4400, None, None, None]],
    "actor": ACTOR,
}
TRADES = ((1_735_916_400_000, 4600, 300, "yes"), (1_735_916_401_000, 4500, 100, "no"))


def test_our_orders_stand_at_their_level_with_what_trades_before_them(session: HandDriven) -> None:
    book = session.books.view(FIRST)
    assert book is not None
    lines = [squeezed(text) for text in text_of(ladder(book, orders=ACTOR["orders"])).splitlines()]
    assert lines[1] == "bid size YES $ ask size ours"
    assert lines[3:] == [
        "0.4700 — ◆ 1",  # where the book shows nothing: it has not come to us yet, or is gone
        "0.4600 100.00 ▪▪▪▪▪▪",
        "2¢",
        "▪ 12.50 0.4400 ◆ 1, 12.50 ahead",
        "▪▪▪ 50.00 0.4300",
    ]


def test_an_order_far_from_the_best_is_shown_all_the_same() -> None:
    levels = tuple((price, 100) for price in range(100, 5000, 100))
    book = BookView(FIRST, 1, True, levels, ())  # type: ignore[arg-type]
    text = text_of(ladder(book, levels=2, orders=[order("yes", 300)]))
    assert [word for word in text.split() if word.startswith("0.")] == ["0.4900", "0.4800", "0.0300"]


def test_what_an_actor_has(session: HandDriven) -> None:
    text = squeezed(text_of(screen(glance(session, state=STATE))))
    assert "actor healthy · active · paper · hardcoded:join" in text
    assert f"P&L -$1.25, cash $999.00, 2 orders, holds {FIRST} 3 NO" in text
    silent = {**STATE, "actor": {**ACTOR, "age_s": 17.0, "profit_e6": None, "cash_e6": None}}
    text = squeezed(text_of(screen(glance(session, state=silent))))
    assert "last heard 17.0 s ago P&L —, cash —," in text
    assert "actor" not in text_of(screen(glance(session, state={**STATE, "actor": NOBODY})))
    flat, unknown = ({**ACTOR, "positions": [], "cash_e6": cash} for cash in (0, None))
    assert "holds nothing" in squeezed(text_of(screen(glance(session, state={**STATE, "actor": flat}))))
    assert "cash —, 2 orders, holds —" in squeezed(text_of(screen(glance(session, state={**STATE, "actor": unknown}))))


def test_all_markets_and_trades_where_there_is_room(session: HandDriven) -> None:
    shown = glance(session, state=STATE, trades=TRADES)
    narrow, wide = (text_of(screen(shown, width=width), width=width) for width in (80, 160))
    assert "15:00:01" not in narrow  # its orders take the room
    assert wide.index("15:00:01") < wide.index("15:00:00")
    assert f"▸{FIRST} ◆" in wide
    assert squeezed(wide).count(SECOND) == 1
    without = glance(session, state={**STATE, "actor": NOBODY}, trades=TRADES)
    assert "15:00:01" in text_of(screen(without, width=80), width=80)


def test_of_many_markets_those_around_the_chosen_one_are_shown() -> None:
    told = [[f"M{number}", True, 100, 200, None, 1.0] for number in range(100)]
    text = text_of(beside.markets(told, chosen="M50", own={}, rows=10))
    assert [word for word in text.split() if word.strip("▸").startswith("M")] == [
        "M45", "M46", "M47", "M48", "M49", "▸M50", "M51", "M52", "M53", "M54",
    ]  # fmt: skip
    assert "90 more" in text


def test_rates_as_a_line_of_bars() -> None:
    assert beside.sparkline((0, 1, 4, 8)) == "▁▂▅█"
    assert beside.sparkline((0, 0)) == "▁▁"
    assert beside.sparkline(()) == ""


def test_what_is_old_does_not_look_new(session: HandDriven) -> None:
    shown = glance(session, age_s=17.0, trouble="no recorder answers")
    assert "was healthy" in text_of(screen(shown))
    assert "was healthy" not in text_of(screen(glance(session, age_s=0.1)))


def test_all_markets_of_a_silent_recorder_are_dim(session: HandDriven) -> None:
    def begun(**changed: Any) -> str:
        out = io.StringIO()
        console = Console(file=out, width=200, highlight=False, force_terminal=True, color_system="standard")
        console.print(screen(glance(session, state=STATE, **changed), width=200))
        return next(text for text in out.getvalue().splitlines() if f"▸{FIRST}" in text).split("▸")[0][-8:]

    assert "\x1b[1m" in begun(age_s=0.1)
    assert "\x1b[1;2m" in begun(age_s=17.0, trouble="no recorder answers")


@pytest.mark.parametrize(("columns", "count"), [(20, 1), (120, 1), (200, 2), (400, 6)])
def test_ladders_leave_room_for_what_stands_beside_them(columns: int, count: int) -> None:
    assert ladders_that_fit(columns) == count
