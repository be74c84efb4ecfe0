"""The report as Markdown: tables of the right shape, names that stay in their cells."""

from __future__ import annotations

import re

import numpy as np
import pytest

from kflow.evaluate import report
from kflow.evaluate.report import text
from kflow.testing import documents

CELL = re.compile(r"(?<!\\)\|")


def tables(markdown: str) -> list[list[str]]:
    found: list[list[str]] = [[]]
    for line in markdown.splitlines():
        if line.startswith("|"):
            found[-1].append(line)
        elif found[-1]:
            found.append([])
    return [table for table in found if table]


@pytest.mark.parametrize(
    "told",
    [
        documents.document(),
        documents.document(hostile=True, settled=True, in_sample=True, judged=("a", "b")),
        documents.document(events=1),
        documents.nothing(),
        documents.without(documents.document(settled=True), np.random.default_rng(3), 0.25),
    ],
    ids=["plain", "hostile", "one event", "nothing", "holes"],
)
def test_every_row_has_as_many_cells_as_its_head(told: dict[str, object]) -> None:
    markdown = report.markdown(told)
    found = tables(markdown)
    assert found
    for head, rule, *rows in found:
        assert re.fullmatch(r"\|( ---:? \|)+", rule)
        assert rows
        for row in (rule, *rows):
            assert len(CELL.findall(row)) == len(CELL.findall(head)), row
    assert "<" not in markdown, "Markdown lets HTML through"
    assert "None" not in markdown


def test_a_name_is_only_a_name() -> None:
    assert text.escaped("a|b`c*d_e [x](y) <b>&\nnew") == "a\\|b\\`c\\*d_e \\[x\\](y) &lt;b&gt;&amp; new"
    assert text.escaped("_x_ ppo_0001") == "\\_x\\_ ppo_0001"


def test_the_sentence_and_the_stamp_come_first() -> None:
    told = documents.document(in_sample=True)
    lines = report.markdown(told).splitlines()
    assert lines[2].startswith("**In sample")
    assert lines[4] == f"**{told['sentence']}**"
    assert "| btc:1 | calibrated |" in report.markdown(told)
