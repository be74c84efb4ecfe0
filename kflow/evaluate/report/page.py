"""The report as one HTML file: nothing is loaded, nothing runs, and a policy in it says so to the browser."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from kflow.evaluate.report import record, sections, verdict, words
from kflow.evaluate.report.markup import Content, Markup, el
from kflow.evaluate.report.shape import Evaluation

_CONTENTS = (
    ("contestants", "Contestants"),
    ("equity", "Equity"),
    ("events", "Events"),
    ("band", "Band"),
    ("fills", "Fills"),
    ("slippage", "Slippage"),
    ("fees", "Fees"),
    ("markouts", "Markouts"),
    ("calibration", "Calibration"),
    ("actions", "Actions"),
    ("capacity", "Capacity"),
    ("inventory", "Inventory"),
    ("data", "Data"),
    ("left-out", "Left out"),
    ("assumptions", "Assumptions"),
    ("manifest", "Manifest"),
)


def report(told: Evaluation) -> str:
    """The whole report of an evaluation."""
    title = f"{'IN SAMPLE: ' if told.in_sample else ''}{words.short(told.name or 'evaluation', 120)}"
    links = el("nav", [el("a", name, href=f"#{anchor}") for anchor, name in _CONTENTS], aria_label="Contents")
    return page(
        title,
        [verdict.header(told), links],
        [verdict.contestants(told), *sections.topics(told), *record.sections(told)],
    )


def page(title: str, head: Content, body: Iterable[Markup]) -> str:
    """A document with the house's style, and the policy that allows it and nothing else."""
    style = _style()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    whole = el(
        "html",
        el(
            "head",
            el("meta", charset="utf-8"),
            el("meta", http_equiv="Content-Security-Policy", content=policy),
            el("meta", name="viewport", content="width=device-width, initial-scale=1"),
            el("meta", name="color-scheme", content="light dark"),
            el("meta", name="referrer", content="no-referrer"),
            el("title", title),
            el("link", rel="icon", href="data:,"),
            el("style", Markup(style)),
        ),
        el("body", el("main", head, *body)),
        lang="en",
    )
    return f"<!DOCTYPE html>\n{whole}\n"


@cache
def _style() -> str:
    return Path(__file__).with_name("style.css").read_text(encoding="utf-8")
