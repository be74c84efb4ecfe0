"""docs/promises.md does not go stale: its figures are those of the pages and files that it takes them from."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")


def rows() -> list[list[str]]:
    table = PAGE.partition("\n## ")[0]
    lines = [line.strip("|") for line in table.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.split(" | ")] for line in lines[1:]]


def figures_of_tests() -> ModuleType:
    spec = importlib.util.spec_from_file_location("figures", ROOT / "docs" / "site" / "figures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def numbers(text: str) -> set[str]:
    """Every number with its separators and decimals; a number inside a word is none."""
    return set(re.findall(r"(?<![\w.,])(?:\d+(?:,\d{3})*)?\.?\d+(?!\w)", text.replace("`", "")))


@pytest.mark.parametrize(("promise", "figure", "where", "tested"), rows())
def test_a_promise_has_a_figure_of_its_page_a_command_and_a_test(
    promise: str, figure: str, where: str, tested: str
) -> None:
    [(page, anchor)] = re.findall(r"\]\(([\w-]+\.md)#([\w-]+)\)", where)
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    section = next(part for part in re.split(r"^(?=##)", text, flags=re.MULTILINE) if slug(part) == anchor)
    assert numbers(figure) <= numbers(section.replace("**", "")), f"{promise}: {page} says otherwise"
    assert numbers(figure) or figure in section
    assert re.search(r"`(make|python|kflow) [^`]+`", where)
    [command] = re.findall(r"`pytest ([^`]+)`", tested)
    for path in shlex.split(command):
        assert (ROOT / path).exists(), path


def slug(section: str) -> str:
    heading = section.partition("\n")[0].lstrip("# ").strip().lower()
    return re.sub(r"[^\w\- ]", "", heading).replace(" ", "-")


def test_the_table_of_faults_is_that_of_the_last_run() -> None:
    assert figures_of_tests().written(PAGE) == PAGE, "run: make docs"


def test_what_was_lost_would_be_in_the_table() -> None:
    well = {"lost": 0, "duplicated": 0, "unrecorded": 0, "unknown": 0}
    results = [
        {"fault": "kill", "kills": 2, "journalled": 1000, **well, "lost": 1},
        {"fault": "venue: a", "injected": 3, "journalled": 5, **well, "duplicated": 2},
        {"fault": "venue: silent", "found_s": 35.2},
        {"fault": "kill", "journalled": 10, **well, "unrecorded": 3},
    ]
    assert figures_of_tests().table(results).splitlines()[2:] == [
        "| kill | 3 | 1,010 | 1 | 0 | 3 | 0 |",
        "| what a venue may do wrong | 3 | 5 | 0 | 2 | 0 | 0 |",
        "| **all** | 6 | 1,015 | 1 | 2 | 3 | 0 |",
    ]
