"""The map of the house is the house, and the sentences that people are helped with are those that they meet."""

from __future__ import annotations

import ast
import importlib.util
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def floors() -> set[tuple[str, str]]:
    spec = importlib.util.spec_from_file_location("layers", ROOT / "tests" / "test_layers.py")
    assert spec is not None
    assert spec.loader is not None
    layers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(layers)
    return {(str(floor), room) for room, floor in layers.FLOOR_OF.items()} | {("", layers.ANNEX)}


def test_the_map_shows_every_room_on_its_floor() -> None:
    text = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d*) ?\| ((?:`\w+`(?:, )?)+) \|", text, re.MULTILINE)
    assert {(floor, room) for floor, names in rows for room in re.findall(r"\w+", names)} == floors()


@cache
def sentences() -> frozenset[str]:
    """Every text in the code, with … for what is filled in."""
    found = set()
    for path in (ROOT / "kflow").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
            elif isinstance(node, ast.JoinedStr):
                found.add("".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values))
    return frozenset(found)


def said() -> list[str]:
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| (`.*?) \| ", text, re.MULTILINE)
    return [sentence for cell in cells for sentence in re.findall(r"`([^`]+)`", cell) if " " in sentence]


def test_there_are_sentences() -> None:
    assert len(said()) > 30


@pytest.mark.parametrize("sentence", said())
def test_a_sentence_that_is_explained_is_one_that_kflow_says(sentence: str) -> None:
    if sentence.startswith("kflow "):
        return  # a command in the same cell
    pattern = re.compile(".*?".join(re.escape(part.strip()) for part in sentence.split("…")))
    assert any(pattern.search(text) for text in sentences())
