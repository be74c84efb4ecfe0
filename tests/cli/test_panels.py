"""How a recorder looks, as text."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from kflow.cli.panels import Glance, ladder, line, screen
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
    shown = [text for text in lines if text and "─" not in text][2:]
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
        "venue to us 5 ms (p50), 5 ms (p99)",
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
    shown = glance(session, books=(second, second, second))
    assert all(len(text) <= width for text in text_of(screen(shown, height=height), width=width).splitlines())
