"""kflow audit: what it prints, and how it ends when something is wrong."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kflow.policy.features import FEATURES
from kflow.rl import batch, columns, dataset, observed
from tests.cli.conftest import Kflow, refused

FAIR = ("--world", "fair", "--seed", "3")
FEW = (*FAIR, "--decisions", "20000")


def test_leak_says_what_it_compared(kflow: Kflow) -> None:
    done = kflow("audit", "leak", *FAIR, "--cuts", "40")
    assert done.code == 0, done
    lines = [line.split() for line in done.out.splitlines()[2:]]
    assert [line[-1] for line in lines] == ["yes", "—", "yes", "yes", "yes"]
    assert "noise behind 40 decisions" in done.out
    assert "300 s after a beginning" in done.out
    assert "the actor's code on" in done.out


def test_leak_in_json_gives_every_number(kflow: Kflow) -> None:
    done = kflow("audit", "leak", *FAIR, "--cuts", "40", "--json")
    whole = json.loads(done.out)
    assert done.code == 0
    assert whole["leaks"]["cuts"] == 40
    assert whole["leaks"]["most"] == 0
    assert whole["leaks"]["differences"] == whole["live"]["differences"] == {}
    assert [warm["seconds"] for warm in whole["warm_up"]] == [60, 300, 600]
    assert kflow("audit", "leak", *FAIR, "--cuts", "40", "--json").out == done.out


def test_a_planted_leak_is_reported_with_exit_6(kflow: Kflow, monkeypatch: pytest.MonkeyPatch) -> None:
    def peeking(*given: Any) -> Any:
        rows = columns.market_columns(*given)
        rows[:-1, 0] = rows[1:, 0]
        return rows

    monkeypatch.setattr(dataset, "market_columns", peeking)
    done = kflow("audit", "leak", *FAIR, "--cuts", "40")
    assert done.code == 6
    assert "error: later data is seen in market features (" in done.err
    assert "first FAIR-3000" in done.err
    assert done.err.splitlines()[-1].startswith("hint: nothing that is trained on this")
    [line] = [line for line in done.out.splitlines() if line.startswith("noise behind")]
    assert line.split()[-1] == "no"
    machine = kflow("audit", "leak", *FAIR, "--cuts", "40", "--json")
    assert machine.code == 6
    assert json.loads(machine.out)["leaks"]["differences"]["market features"]["times"] > 0


def test_features_are_told_one_by_one_and_drawn(kflow: Kflow, tmp_path: Path) -> None:
    done = kflow("audit", "features", *FEW, "--plot", "corr.png")
    assert done.code == 0
    names = [line.split()[0] for line in done.out.splitlines()[2 : 2 + len(FEATURES)]]
    assert names == [feature.name for feature in FEATURES]
    assert "rank " in done.out
    assert (tmp_path / "corr.png").read_bytes().startswith(b"\x89PNG")
    assert "constant here: sides, tick" in done.err


def test_features_for_programs(kflow: Kflow) -> None:
    whole = json.loads(kflow("audit", "features", *FEW, "--json").out)
    assert len(whole["features"]) == len(FEATURES)
    assert whole["constant"] == [feature["name"] for feature in whole["features"] if feature["constant"]]
    matrix = np.array(whole["matrix"]["correlations"])
    assert matrix.shape == (whole["varying"],) * 2
    assert len(whole["pairs"]) == 10
    assert whole["rank"] <= whole["varying"]
    rows = list(csv.DictReader(io.StringIO(kflow("audit", "features", *FEW, "--format", "csv").out)))
    assert [row["name"] for row in rows] == [feature.name for feature in FEATURES]


def test_masks_are_counted_by_reason(kflow: Kflow) -> None:
    done = kflow("audit", "masks", *FAIR, "--states", "300", "--json")
    whole = json.loads(done.out)
    assert done.code == 0
    assert (whole["states"], whole["missed"], whole["spurious"]) == (300, 0, 0)
    assert all(reason["denied"] == reason["masked"] for reason in whole["reasons"])
    table = kflow("audit", "masks", *FAIR, "--states", "300")
    assert "cash does not cover the worst case" in table.out
    assert "300 states" in table.err


def test_a_mask_that_forgets_a_limit_is_reported_with_exit_6(kflow: Kflow, monkeypatch: pytest.MonkeyPatch) -> None:
    def everything(of: batch.Batch) -> Any:
        return np.ones((of.count, len(of.setup.actions.actions)), np.bool_)

    check = observed.check_masks
    monkeypatch.setattr(observed, "check_masks", lambda *a, **k: check(*a, **k, masks_of=everything))
    done = kflow("audit", "masks", *FAIR, "--states", "50")
    assert done.code == 6
    assert "masks and limits disagree" in done.err
    assert done.out


@pytest.mark.parametrize("command", ["leak", "features", "masks"])
def test_two_sources_and_worlds_that_there_are_not_are_refused(kflow: Kflow, command: str) -> None:
    refused(kflow("audit", command, *FAIR, "--market", "KXT"), 2, "--world")
    refused(kflow("audit", command, "--world", "flat"), 2, "flat", "reverting")


def test_a_plot_of_another_kind_is_refused_at_once(kflow: Kflow) -> None:
    refused(kflow("audit", "features", *FEW, "--plot", "corr.pdf"), 2, "corr.pdf")
