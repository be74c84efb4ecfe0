"""How Sphinx makes a site of docs/: pages as they stand, navigation from the headings and links of docs/index.md."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Final

DOCS: Final = Path(__file__).resolve().parents[1]

project = "kflow"
version = tomllib.loads((DOCS.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
project_copyright = "kflow's authors. Apache-2.0"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["site"]

# Headings get the anchors that forges give them, so that one link serves both.
myst_heading_anchors = 4
nitpicky = True
smartquotes = False  # an option begins with two hyphens, in prose too
# Excerpts of SQL, output and JSON lines are shown as they are written, whatever a lexer makes of them.
suppress_warnings = ["misc.highlighting_failure"]
highlight_language = "text"

html_theme = "furo"
html_title = f"kflow {version}"
html_static_path = ["static"]
html_css_files = ["kflow.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options: dict[str, Any] = {"navigation_with_keys": True, "top_of_page_buttons": []}


def navigation(index: str) -> str:
    """A table of contents of each section of the index: its links to pages, in order, under its heading."""
    made = []
    for section in re.split(r"^## ", index, flags=re.MULTILINE)[1:]:
        heading, _, text = section.partition("\n")
        links = dict.fromkeys(re.findall(r"\[([^\]]+)\]\(([^):#]+)\.md\)", text))
        pages = "\n".join(f"{title} <{page}>" for title, page in links)
        made.append(f"```{{toctree}}\n:hidden:\n:caption: {heading}\n\n{pages}\n```\n")
    return "\n".join(made)


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _with_navigation)


def _with_navigation(_app: Any, page: str, source: list[str]) -> None:
    if page == "index":
        source[0] += "\n" + navigation(source[0])
