"""Two evaluations beside each other: events are paired by name, and what differs is told."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest

from kflow.evaluate import report
from kflow.evaluate.report import comparing
from kflow.testing import documents


def shifted(told: dict[str, Any], by: float) -> dict[str, Any]:
    found = copy.deepcopy(told)
    for result in found["results"]:
        for place, event in enumerate(result["events"]):
            event["profit"] += by + (0.1 if place % 2 else -0.1)
    return found


def test_events_are_paired_by_name_not_by_place() -> None:
    one = documents.document()
    two = shifted(one, 2.0)
    for result in two["results"]:
        result["events"] = [*reversed(result["events"][3:]), {"event": "new", "profit": 1e6}]
    found = report.compare(one, two)
    assert found["shared_events"] == 9
    assert found["only_b"] == ["new"]
    assert len(found["only_a"]) == 3
    first = found["pairs"][0]
    assert (first["a"], first["b"], first["fill_model"], first["judged"]) == ("btc:1", "btc:1", "queue", True)
    assert first["events"] == 9
    differences = [row["difference"] for row in first["by_event"]]
    assert sorted(round(value, 9) for value in differences) == [1.9] * 4 + [2.1] * 5
    assert first["difference"] == pytest.approx(np.mean(differences))
    assert first["low"] < first["difference"] < first["high"]
    assert first["p"] < 0.02
    assert first["words"] == "the second earns more"


def test_the_same_document_does_not_differ() -> None:
    told = documents.document()
    found = report.compare(told, told)
    assert found["assumptions"] == []
    assert found["same_data"] is True
    assert {pair["difference"] for pair in found["pairs"]} == {0.0}
    assert {pair["p"] for pair in found["pairs"]} == {1.0}
    assert {pair["same_model"] for pair in found["pairs"] if pair["judged"]} == {True}


def test_models_of_other_names_stand_against_each_other() -> None:
    found = report.compare(documents.document(), documents.document(judged=("btc:2",)))
    pairs = {(pair["a"], pair["b"]) for pair in found["pairs"]}
    assert ("btc:1", "btc:2") in pairs
    assert ("hold", "hold") in pairs
    assert found["pairs"][0]["a"] == "btc:1"
    assert "btc:2 against btc:1" in found["sentence"]


def test_assumptions_that_differ_are_told_value_by_value() -> None:
    one, two = documents.document(), documents.document()
    two["assumptions"]["latency"] = "none"
    two["assumptions"]["models"]["queue"]["power"] = 1.4
    del two["assumptions"]["ruin"]
    two["data"]["tapes"][0]["digest"] = "0" * 64
    found = report.compare(one, two)
    assert found["assumptions"] == [
        {"name": "latency", "a": "constant 50/50/20 ms", "b": "none"},
        {"name": "models.queue.power", "a": 1.0, "b": 1.4},
        {"name": "ruin", "a": 0.1, "b": None},
    ]
    assert found["same_data"] is False
    for text in (report.comparison_html(found), report.comparison_markdown(found)):
        assert text.index("latency") < text.index("Profit on the same events")
        assert "other digests" in text


def test_nothing_in_common_is_said() -> None:
    one, two = documents.document(events=3), documents.document(events=3, hostile=True)
    found = report.compare(one, two)
    assert found["shared_events"] == 0
    assert "share no event" in found["sentence"]
    assert {pair["words"] for pair in found["pairs"]} == {"no event is in both"}
    nothing = report.compare(documents.nothing(), documents.nothing())
    assert nothing["pairs"] == []
    for comparison in (found, nothing):
        assert "<script" not in report.comparison_html(comparison)
        assert report.comparison_markdown(comparison)
        json.dumps(comparison, allow_nan=False)


def test_few_pairs_tell_a_mean_and_no_more() -> None:
    assert comparing.paired(np.zeros(0)) == (None, None, None, None)
    assert comparing.paired(np.array([1.0, 2.0, 3.0, 6.0])) == (3.0, None, None, None)
    assert comparing.paired(np.zeros(8)) == (0.0, 0.0, 0.0, 1.0)


def test_the_interval_holds_the_truth_and_p_is_uniform_without_a_difference() -> None:
    rng = np.random.default_rng(11)
    found = [comparing.paired(rng.normal(0.0, 1.0, 20)) for _ in range(120)]
    held = sum(low <= 0.0 <= high for _, low, high, _ in found if low is not None and high is not None)
    rejected = sum(p <= 0.05 for _, _, _, p in found if p is not None)
    assert 106 <= held <= 120, "95 % of 120 is 114; a standard deviation is 2.4"
    assert rejected <= 14, "5 % of 120 is 6"


def test_p_of_random_signs_by_hand() -> None:
    """Of the 2 ** 6 signs of six equal differences two are as far out."""
    _, _, _, p = comparing.paired(np.full(6, 1.5))
    assert p == pytest.approx(2 / 64, abs=0.008)
