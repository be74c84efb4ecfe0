"""Plots for papers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kflow.errors import ConfigError, UsageError
from kflow.evaluate import report
from kflow.testing import documents

HEAD = {".png": b"\x89PNG", ".svg": b"<?xml"}


def test_what_has_numbers_is_drawn_and_the_same_twice(tmp_path: Path) -> None:
    told = documents.document(settled=True, hostile=True, in_sample=True, judged=("a",))
    written = report.plots(told, tmp_path / "new" / "folder", ".svg")
    assert [path.name for path in written] == [
        "verdict.svg",
        "equity.svg",
        "events.svg",
        "fills_by_distance.svg",
        "fills_by_queue.svg",
        "markouts.svg",
        "calibration.svg",
        "capacity.svg",
    ]
    again = report.plots(told, tmp_path / "again", ".svg")
    for path, other in zip(written, again, strict=True):
        assert path.read_bytes().startswith(HEAD[".svg"])
        assert path.read_bytes() == other.read_bytes()


def test_png_and_two_models(tmp_path: Path) -> None:
    written = report.plots(documents.document(events=2, judged=("a", "b"), baselines=1), tmp_path, ".png")
    assert {"verdict.png", "equity_1.png", "equity_2.png"} <= {path.name for path in written}
    assert all(path.read_bytes().startswith(HEAD[".png"]) for path in written)


def test_nothing_to_draw_draws_nothing(tmp_path: Path) -> None:
    assert report.plots(documents.nothing(), tmp_path) == []


def test_what_cannot_be_drawn_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = documents.document(events=2)
    with pytest.raises(UsageError, match=r"\.png or an \.svg"):
        report.plots(told, tmp_path, ".jpg")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write"):
        report.plots(told, tmp_path / "file" / "folder")
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # what an import of it finds where it is not installed
    with pytest.raises(ConfigError, match="matplotlib"):
        report.plots(told, tmp_path)
