"""Every link of the documentation leads somewhere, and its site is built without a warning and needs no network."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
BUILD = DOCS / "site" / "build.py"
PAGES = (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md")))
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
# What a browser would fetch by itself: anything of these from outside would break the site without a network.
FETCHED = {"script": "src", "link": "href", "img": "src", "source": "src", "iframe": "src", "object": "data"}


def prose(text: str) -> str:
    """Markdown without its blocks and spans of code."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors that a forge gives a page's headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    seen: Counter[str] = Counter()
    found = []
    for heading in re.findall(r"^#{1,6} +(.*?) *$", text, flags=re.MULTILINE):
        bare = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", bare).replace(" ", "-")
        found.append(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return frozenset(found)


def broken(page: Path) -> list[str]:
    """The links of a page that lead to no file, or to no heading of it."""
    wrong = []
    for target in re.findall(r"\]\(\s*<?([^)\s>]+)", prose(page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / unquote(name)).resolve() if name else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            wrong.append(target)
    return wrong


@pytest.mark.parametrize("name", NAMES)
def test_links_and_anchors_lead_somewhere(name: str) -> None:
    assert broken(ROOT / name) == []


def test_a_broken_link_and_a_broken_anchor_are_seen(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# One\n## A [b](x.md): c, `d`_e\n## One\n")
    (tmp_path / "page.md").write_text(
        "[a](there.md) [b](there.md#a-b-c-d_e) [c](there.md#one-1) [d](#no) [e](gone.md) [f](there.md#two)\n"
        "`[g](code.md)` [h](https://example.com/)\n```\n[i](code.md)\n```\n"
    )
    assert broken(tmp_path / "page.md") == ["#no", "gone.md", "there.md#two"]


def test_the_index_leads_to_every_page() -> None:
    text = (DOCS / "index.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^- \[[^\]]+\]\(([^)]+)\)", text, flags=re.MULTILINE))
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")} - {"index.md"}
    assert listed == pages, "docs/index.md makes the site's navigation: it has to list each page once"


def build(docs: Path, site: Path) -> subprocess.CompletedProcess[str]:
    if not (ROOT / ".venvs" / "docs" / ".installed").is_file():
        pytest.skip("Sphinx is not installed: make site")
    return subprocess.run([sys.executable, BUILD, site, docs], capture_output=True, text=True, check=False, timeout=300)


class Html(HTMLParser):
    """The anchors and links of a page, and what a browser fetches for it."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.anchors, self.links, self.fetched = {""}, [], []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        has = {name: value or "" for name, value in attributes}
        self.anchors.add(has.get("id", ""))
        if tag == "a" and "href" in has:
            self.links.append(has["href"])
        if FETCHED.get(tag) in has and has.get("rel") not in ("index", "search", "next", "prev"):
            self.fetched.append(has[FETCHED[tag]])


def test_the_site_is_built_without_a_warning_and_needs_no_network(tmp_path: Path) -> None:
    site = tmp_path / "site"
    done = build(DOCS, site)
    assert (done.returncode, done.stderr) == (0, "")
    pages = {page: Html(page) for page in site.rglob("*.html")}
    assert {page.relative_to(site).with_suffix("") for page in pages} >= {
        page.relative_to(DOCS).with_suffix("") for page in DOCS.rglob("*.md")
    }
    for page, html in pages.items():
        for address in html.fetched:
            assert (page.parent / unquote(address.partition("?")[0])).is_file(), f"{page.name} fetches {address}"
        for address in html.links:
            name, _, anchor = address.partition("#")
            if not re.match(r"[a-z]+:", address):
                target = (page.parent / unquote(name)).resolve() if name else page
                assert target.exists(), f"{page.name}: {address}"
                assert target not in pages or unquote(anchor) in pages[target].anchors, f"{page.name}: {address}"
    for sheet in site.rglob("*.css"):
        assert re.findall(r"@import|url\(\s*['\"]?(?:https?:)?//", sheet.read_text(encoding="utf-8")) == [], sheet
    # The index is a script, which a browser loads from a folder too; a file that is fetched it would refuse.
    assert "watermark" in (site / "searchindex.js").read_text(encoding="utf-8")


def test_each_warning_is_told_and_ends_the_build(tmp_path: Path) -> None:
    faults = ("[gone](gone.md)", "[no such heading](index.md#nowhere)", "![gone](gone.png)")
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "index.md").write_text("# One page\n\n" + "\n\n".join(faults) + "\n")
    done = build(docs, tmp_path / "site")
    assert done.returncode == 1
    for line in (3, 5, 7):
        assert f"index.md:{line}: WARNING" in done.stderr
