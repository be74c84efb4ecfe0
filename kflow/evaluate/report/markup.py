"""HTML and SVG built as text that is safe by construction: what is not Markup is escaped."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import Final

from kflow.evaluate.report import words

_VOID: Final = frozenset({"meta", "link", "br", "col"})
_NAME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9-]*")


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Content = str | None | Iterable["Content"]


def el(tag: str, /, *content: Content, **attributes: object) -> Markup:
    """An element. `class_` is class, `aria_label` aria-label; an attribute that is None is left out.

    Raises ValueError for attributes that the report's own policy would refuse: styles and event handlers.
    """
    told = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        name = key.rstrip("_").replace("_", "-")
        if name == "style" or name.startswith("on") or not _NAME.fullmatch(name):
            raise ValueError(f"no attribute {name} in a report")
        told.append(f" {name}" if value is True else f' {name}="{_attribute(value)}"')
    start = f"<{tag}{''.join(told)}>"
    return Markup(start) if tag in _VOID else Markup(f"{start}{join(content)}</{tag}>")


def join(content: Content) -> Markup:
    """Parts one after the other."""
    if content is None:
        return Markup("")
    if isinstance(content, Markup):
        return content
    if isinstance(content, str):
        return Markup(html.escape(words.plain(content)))
    return Markup("".join(join(part) for part in content))


def named(text: str, most: int = 64) -> Markup:
    """Somebody else's name: it may be long, and written from right to left."""
    kept = words.short(text, most)
    return el("bdi", kept, title=words.short(text, 200) if kept != text else None)


def _attribute(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.1f}".removesuffix(".0")
    return html.escape(words.plain(value))
