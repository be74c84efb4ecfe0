"""`kflow report`: pages, Markdown and comparisons from documents, and what it says where there are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kflow.testing import documents
from tests.cli.conftest import Kflow, refused


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder with an evaluation."""
    folder = tmp_path / "eval_0001"
    folder.mkdir()
    (folder / "evaluation.json").write_text(json.dumps(documents.document(events=6)))
    return folder


def test_a_folder_gets_its_page(kflow: Kflow, run: Path) -> None:
    done = kflow("report", run)
    assert (done.code, done.out) == (0, f"{run / 'report.html'}\n")
    page = (run / "report.html").read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert "Content-Security-Policy" in page


def test_a_file_and_an_output_in_any_order(kflow: Kflow, run: Path, tmp_path: Path) -> None:
    file = run / "evaluation.json"
    for words in (("report", file, "-o", "new/a.html"), ("report", "-o", "new/a.html", file), ("report", "show", file)):
        assert kflow(*words).code == 0
    assert (tmp_path / "new" / "a.html").read_bytes() == (run / "report.html").read_bytes()


def test_formats_by_name_and_by_option(kflow: Kflow, run: Path, tmp_path: Path) -> None:
    assert kflow("report", run, "--format", "md").out.startswith("# btc:1 on 6 events\n")
    assert json.loads(kflow("report", run, "--format", "json").out) == documents.document(events=6)
    assert kflow("report", run, "-o", "-").out.startswith("<!DOCTYPE html>")
    assert kflow("report", run, "-o", "a.md").code == 0
    assert (tmp_path / "a.md").read_text().startswith("# btc:1")
    assert not (run / "report.html").exists()


def test_plots_are_written_beside_the_page(kflow: Kflow, run: Path, tmp_path: Path) -> None:
    done = kflow("report", run, "--plots", "plots", "--plot-format", "png")
    assert done.code == 0
    assert (tmp_path / "plots" / "verdict.png").is_file()
    assert done.out == f"{run / 'report.html'}\n"


def test_two_are_compared(kflow: Kflow, run: Path, tmp_path: Path) -> None:
    other = documents.document(events=6, judged=("btc:2",))
    other["assumptions"]["latency"] = "none"
    (tmp_path / "other.json").write_text(json.dumps(other))
    done = kflow("report", "compare", run, "other.json")
    assert done.code == 0
    assert done.out.startswith("# Two evaluations compared\n")
    assert "| latency | constant 50/50/20 ms | none |" in done.out
    told = json.loads(kflow("report", "compare", run, "other.json", "--format", "json").out)
    assert told["kind"] == "comparison"
    assert told["shared_events"] == 6
    assert kflow("report", "compare", run, "other.json", "-o", "both.html").out == "both.html\n"
    assert (tmp_path / "both.html").read_text().startswith("<!DOCTYPE html>")


def test_what_is_no_evaluation_is_told(kflow: Kflow, run: Path, tmp_path: Path) -> None:
    for text, words in (("{", "no JSON"), ("[]", "no evaluation"), ('{"kind": "evaluation"}', "schema version None")):
        (tmp_path / "odd.json").write_text(text)
        refused(kflow("report", "odd.json"), 6, words)
        refused(kflow("report", "compare", run, "odd.json"), 6, words)
    refused(kflow("report", "nothing"), 2, "cannot read nothing")
    refused(kflow("report", tmp_path), 2, "evaluation.json")


def test_where_nothing_can_be_written_is_told(kflow: Kflow, run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused(kflow("report", run, "-o", "file/report.html"), 3, "cannot write file/report.html")
    refused(kflow("report", run, "-o", tmp_path), 3, "cannot write")


def test_a_command_that_is_none(kflow: Kflow, run: Path) -> None:
    assert kflow("report").code == 2
    assert kflow("report", "comprae", run, run).code == 2
    assert kflow("report", "compare", run).code == 2
    done = kflow("report", "--help")
    assert done.code == 0
    assert "compare" in done.out
