"""What is an evaluation's document, and what is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kflow.errors import DataError, KflowError, UsageError
from kflow.evaluate.report import shape
from kflow.testing import documents


def test_a_folder_is_read_by_its_file(tmp_path: Path) -> None:
    told = documents.document(events=2)
    (tmp_path / shape.FILE).write_text(json.dumps(told))
    assert shape.read(tmp_path) == shape.read(tmp_path / shape.FILE) == told


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b'{"kind": "evaluation", "schema_version": 1, "variants": NaN}', "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "no evaluation"),
        (b'{"kind": "sweep", "schema_version": 1}', "no evaluation"),
        (b'{"kind": "evaluation"}', "schema version None"),
        (b'{"kind": "evaluation", "schema_version": 2}', "schema version 2"),
        (
            b'{"kind": "evaluation", "schema_version": 1, "results": [{"profit": {"total": "much"}}]}',
            "results[0].profit",
        ),
    ],
)
def test_what_is_none_is_told_in_a_sentence(tmp_path: Path, raw: bytes, why: str) -> None:
    file = tmp_path / "odd.json"
    file.write_bytes(raw)
    with pytest.raises(DataError) as caught:
        shape.read(file)
    assert why in str(caught.value)
    assert str(file) in str(caught.value)
    assert caught.value.hint


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        shape.read(tmp_path / "nothing.json")


@pytest.mark.parametrize("value", [None, 3, "text", [], {"kind": 3}])
def test_no_value_surprises(value: Any) -> None:
    with pytest.raises(KflowError):
        shape.parse(value)


def test_null_and_absent_are_the_same_and_infinite_is_unknown() -> None:
    head = {"kind": "evaluation", "schema_version": 1}
    assert shape.parse({**head, "data": None, "judged": None, "results": [{"profit": None}]}) == shape.parse(
        {**head, "results": [{}]}
    )
    told = shape.parse({**head, "results": [{"profit": {"total": float("inf"), "per_event": 1}}]})
    assert told.results[0].profit == shape.Profit(total=None, per_event=1.0)
