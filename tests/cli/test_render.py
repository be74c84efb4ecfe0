"""How results look: four formats from one call, streams kept apart, nothing that steers a terminal."""

from __future__ import annotations

import csv
import io
import json
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kflow.cli import render
from kflow.errors import UsageError

ITEMS = [
    {"name": "a", "size": 1_234_567, "share": 0.5, "at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "tags": ["x", "y"]},
    {"name": "b\x1b[31m", "size": None, "share": None, "at": None, "tags": []},
]
COLUMNS = ("name", "size", "share", "at", "tags")


def printed(capsys: pytest.CaptureFixture[str], form: render.Format) -> str:
    render.rows("things", ITEMS, columns=COLUMNS, form=form)
    return capsys.readouterr().out


def test_json_has_a_schema_version_and_keeps_types(capsys: pytest.CaptureFixture[str]) -> None:
    whole = json.loads(printed(capsys, render.Format.JSON))
    assert whole["schema_version"] == render.SCHEMA_VERSION
    assert whole["things"][0] == {
        "name": "a", "size": 1234567, "share": 0.5, "at": "2026-01-02T03:04:05Z", "tags": ["x", "y"]
    }  # fmt: skip
    assert whole["things"][1]["size"] is None


def test_ndjson_is_one_object_per_line(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, render.Format.NDJSON).splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["a", "b\x1b[31m"]


def test_csv_has_a_header_and_empty_cells_for_the_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    header, first, second = csv.reader(io.StringIO(printed(capsys, render.Format.CSV)))
    assert header == list(COLUMNS)
    assert first == ["a", "1234567", "0.5", "2026-01-02T03:04:05Z", '["x", "y"]']
    assert second[1:4] == ["", "", ""]


def test_a_table_shows_everything_and_steers_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, render.Format.TABLE)
    assert "1,234,567" in text
    assert "2026-01-02 03:04:05Z" in text
    assert "x, y" in text
    assert "—" in text
    assert "\x1b" not in text


def test_a_wide_table_is_not_cut_when_piped(capsys: pytest.CaptureFixture[str]) -> None:
    render.rows("t", [{"name": "n" * 300}], columns=("name",), form=render.Format.TABLE)
    assert "n" * 300 in capsys.readouterr().out


def test_nothing_found_leaves_stdout_empty_for_people_and_whole_for_programs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    render.rows("things", [], columns=COLUMNS, form=render.Format.TABLE)
    assert capsys.readouterr().out == ""
    render.rows("things", [], columns=COLUMNS, form=render.Format.JSON)
    assert json.loads(capsys.readouterr().out) == {"schema_version": render.SCHEMA_VERSION, "things": []}


@pytest.mark.parametrize("form", list(render.Format))
def test_one_thing_in_each_format(capsys: pytest.CaptureFixture[str], form: render.Format) -> None:
    render.record({"path": Path("/x"), "count": 2}, form=form)
    text = capsys.readouterr().out
    assert "/x" in text
    assert "2" in text


def test_json_is_short_for_the_format(capsys: pytest.CaptureFixture[str]) -> None:
    assert render.chosen(None, as_json=True) is render.Format.JSON
    assert render.chosen(render.Format.JSON, as_json=True) is render.Format.JSON
    assert render.chosen(None, as_json=False) is render.Format.TABLE
    with pytest.raises(UsageError, match="ask for two things"):
        render.chosen(render.Format.CSV, as_json=True)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "—"), (True, "yes"), (1234, "1,234"), (0.25, "0.25"), ({"a": 1}, '{"a": 1}'), ("a\tb", "a·b"), ([], "—")],
)
def test_cells(value: Any, text: str) -> None:
    assert render.cell(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "—"), (0.25, "0.2 s"), (59.9, "59.9 s"), (61, "1 min 1 s"), (3661, "1 h 1 min"), (200_000, "2 d 7 h")],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert render.duration(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(None, "—"), (0, "0 B"), (1500, "1.5 kB"), (2 * 10**13, "20.0 TB")])
def test_sizes(count: int | None, text: str) -> None:
    assert render.size(count) == text


def test_moments_are_utc_to_the_microsecond() -> None:
    assert render.when(1_700_000_000_123_456_789) == datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=UTC)
    assert render.when(None) is None


def test_progress_never_touches_stdout(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "kflow"), render.progress("exporting", 10, unit="messages") as advance:
        advance(10)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("done", "total", "took_s", "text"),
    [
        (0, 10, 0, "0 of 10 rows (0/s)"),
        (500, 2_000, 10, "500 of 2,000 rows (50/s, 30.0 s left)"),
        (3, 10, 10, "3 of 10 rows (0.3/s, 23.3 s left)"),
        (500, None, 10, "500 rows (50/s)"),
        (12, 10, 1, "12 of 10 rows (12/s, 0.0 s left)"),
    ],
)
def test_progress_tells_how_much_how_fast_and_how_long(done: int, total: int | None, took_s: int, text: str) -> None:
    assert render.pace(done, total, "rows", took_s * render.NS_PER_S) == text


@pytest.mark.parametrize(
    "text", ["1", "1,234.5", "-1.2", "+0.30 ±0.1", "12.3 ± 0.1 %", "1.5 kB", "1 min 2 s", "$3.00", "-0.5¢", "99.9 %"]
)
def test_numbers_with_their_units_stand_to_the_right(capsys: pytest.CaptureFixture[str], text: str) -> None:
    render.rows("t", [{"n": text}, {"n": None}], columns=("n",), form=render.Format.TABLE)
    *_, first, unknown = capsys.readouterr().out.splitlines()
    assert (first.endswith(text), unknown.endswith("—")) == (True, True)
    assert len(first) == len(unknown)


@pytest.mark.parametrize("text", ["2026-01-02", "3 of 4", "1-40", "abc", "ppo:1"])
def test_words_stand_to_the_left(capsys: pytest.CaptureFixture[str], text: str) -> None:
    render.rows("t", [{"n": text}, {"n": "—"}], columns=("n",), form=render.Format.TABLE)
    assert capsys.readouterr().out.splitlines()[-1] == "—"


def test_a_table_ends_where_its_text_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert all(line == line.rstrip() for line in printed(capsys, render.Format.TABLE).splitlines())
