"""What a page is made of: figures, tables, facts, notes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from kflow.evaluate.report import words
from kflow.evaluate.report.markup import Content, Markup, el, join
from kflow.evaluate.report.svg import PHONE, Canvas

# Widths that charts are drawn for: the page, and half of it.
PAGE: Final = 880.0
HALF: Final = 430.0
# Rows of a table that is looked up rather than read.
MOST_ROWS: Final = 60

Draw = Callable[[float], Canvas | None]


def figure(draw: Draw, caption: Content, missing: str, *, wide: float = HALF) -> Markup:
    """A chart drawn twice, for a page and for a phone, so that its letters keep their size; else why there is none."""
    canvas, phone = draw(wide), draw(PHONE)
    if canvas is None or phone is None:
        return absent(missing)
    drawn = [el("div", canvas.svg(), class_="wide"), el("div", phone.svg(), class_="narrow")]
    return el("figure", drawn, el("figcaption", caption) if caption else None)


def absent(why: str) -> Markup:
    return el("p", why, class_="absent")


def note(*text: Content) -> Markup:
    return el("p", *text, class_="note")


def notes(texts: Sequence[str]) -> list[Markup]:
    return [note(text) for text in dict.fromkeys(texts) if text]


def facts(rows: Sequence[tuple[str, Content]], look: str = "facts") -> Markup:
    """Names and their values."""
    pairs = [el("div", el("dt", name), el("dd", value)) for name, value in rows]
    return el("dl", pairs, class_=look)


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[Content]], *, texts: Sequence[int] = ()) -> Markup:
    """Rows of numbers, each headed by its first cell; `texts` are columns of words. It scrolls where it is too wide."""
    looks = ["t" if place in texts else None for place in range(len(head))]
    top = [el("th", name, scope="col", class_=look) for name, look in zip(head, looks, strict=True)]
    lines = [
        el(
            "tr",
            el("th", row[0], scope="row"),
            [el("td", cell, class_=look) for cell, look in zip(row[1:], looks[1:], strict=True)],
        )
        for row in rows
    ]
    whole = el("table", el("caption", title), el("thead", el("tr", top)), el("tbody", lines))
    return el("div", whole, class_="scroll", tabindex="0", role="region", aria_label=title)


def folded(title: str, *content: Content) -> Markup:
    """For looking up: closed until it is opened, open on paper."""
    return el("details", el("summary", title), *content)


def section(anchor: str, title: str, *content: Content, stamp: bool = False) -> Markup:
    mark = el("span", "in sample", class_="stamp small") if stamp else None
    return el("section", el("h2", join([title, " "]), mark), *content, id=anchor)


def beside(*content: Content) -> Markup:
    """Next to each other where there is room."""
    return el("div", [el("div", part) for part in content if part], class_="beside")


def of(text: str) -> Markup:
    """Whose details follow."""
    return el("h3", el("bdi", words.short(text, 80)))
