"""The page: it loads nothing, runs nothing, escapes everything, and stays small."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from kflow.evaluate import report
from kflow.testing import documents

VOID = {"meta", "link", "br", "col"}


class Page(HTMLParser):
    """What a browser would make of a page: elements that close in order, attributes, texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"{tag} says an attribute twice"
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def named(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


DOCUMENTS = {
    "plain": documents.document(),
    "settled": documents.document(settled=True, judged=("btc:1", "inx:4")),
    "in sample": documents.document(in_sample=True),
    "hostile": documents.document(events=8, judged=("a", "b", "c"), settled=True, hostile=True, in_sample=True),
    "one event": documents.document(events=1),
    "nobody judged": documents.document(judged=(), events=3),
    "nothing": documents.nothing(),
    **{
        f"holes {seed}": documents.without(
            documents.document(settled=True, judged=("a", "b")), np.random.default_rng(seed), 0.25
        )
        for seed in range(6)
    },
}


@pytest.fixture(scope="module", params=DOCUMENTS)
def page(request: pytest.FixtureRequest) -> Page:
    return Page(report.html(DOCUMENTS[request.param]))


def test_the_policy_allows_the_one_style_and_nothing_else(page: Page) -> None:
    [style] = ["".join(text for tag, text in page.texts if tag == "style")]
    assert len(page.named("style")) == 1
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    [policy] = [meta["content"] for meta in page.named("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    told = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert told["default-src"] == "'none'"
    assert told["style-src"] == f"'sha256-{digest}'"
    assert told["img-src"] == "data:"
    assert "url(" not in style
    assert "@import" not in style


def test_nothing_runs_and_nothing_is_loaded(page: Page) -> None:
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "iframe", "object", "embed", "img", "image", "foreignobject", "form", "base", "use"}
    for tag, attributes in page.elements:
        assert "style" not in attributes, tag
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "srcset", "xlink:href")]
        assert attributes.get("href", "#").startswith(("#", "data:,")), tag


def test_links_within_lead_somewhere(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link["href"][1:] for link in page.named("a")} <= set(ids)


def test_every_picture_says_what_it_shows(page: Page) -> None:
    for svg in page.named("svg"):
        assert svg["role"] == "img"
        assert svg["aria-label"]
        assert re.fullmatch(r"0 0 \d+(\.\d+)? \d+(\.\d+)?", svg["viewbox"])


def test_no_number_is_none_or_nan(page: Page) -> None:
    for _, attributes in page.elements:
        assert not [value for value in attributes.values() if value.lower() in ("none", "nan", "inf", "-inf")]
        assert not re.search(r"nan|inf", attributes.get("d", ""))
    shown = "".join(text for tag, text in page.texts if tag != "style")
    assert not re.search(r"\b(None|nan|inf)\b", shown)


def test_hostile_names_are_text() -> None:
    text = report.html(DOCUMENTS["hostile"])
    assert "<script" not in text.lower()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "\u202e" not in text, "an override of the direction would turn around what follows"
    assert "</svg></b>" not in text
    assert "x" * 201 not in text, "names are cut"


def test_the_verdict_comes_first_and_the_stamp_before_it() -> None:
    told = DOCUMENTS["in sample"]
    text = report.html(told)
    body = text[text.index("<body") :]
    sentence = told["sentence"].replace("'", "&#x27;")
    assert body.index("In sample: trained on") < body.index(sentence) < body.index("<svg") < body.index("<table")
    sections = len(re.findall("<section", body))
    assert len(re.findall('class="stamp small"', body)) == sections, "every section is stamped"
    assert "<title>IN SAMPLE" in text
    assert "stamp small" not in report.html(DOCUMENTS["plain"]).partition("</style>")[2]


def test_what_is_unknown_says_why() -> None:
    text = report.html(DOCUMENTS["plain"])
    assert "12 independent settlements; 30 are needed" in text
    assert "0 of 12 markets have a recorded result" in text
    assert "One event says nothing about another" in report.html(DOCUMENTS["one event"])
    assert "Nobody was played." in report.html(DOCUMENTS["nothing"])


def test_gaps_are_marked_on_equity_and_on_the_data() -> None:
    whole = report.html(DOCUMENTS["plain"])
    for section in ("equity", "data"):
        part = whole[whole.index(f'<section id="{section}"') :].partition("</section>")[0]
        assert 'class="gap"' in part, section
    without = report.html({**DOCUMENTS["plain"], "data": {**DOCUMENTS["plain"]["data"], "gaps": []}})
    assert 'class="gap"' not in without


def test_a_large_one_stays_small() -> None:
    judged = tuple(f"model_{place}:1" for place in range(7))
    plain = report.html(documents.document(events=400, judged=judged, baselines=0, settled=True))
    hostile = report.html(documents.document(events=400, judged=judged, settled=True, hostile=True))
    assert len(plain.encode()) < 1_000_000
    assert len(hostile.encode()) < 1_000_000
    Page(hostile)


def test_it_needs_no_matplotlib() -> None:
    code = "import sys, kflow.evaluate.report; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
