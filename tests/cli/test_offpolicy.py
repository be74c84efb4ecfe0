"""kflow offpolicy: a log, an estimate from it, and what is refused with which exit code."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from kflow.policy import bundle
from kflow.policy.bundle import Actions, Features
from kflow.policy.features import FEATURES, SCHEMA
from kflow.policy.network import Layout, Network
from kflow.testing import models
from tests.cli.conftest import Kflow, refused

LAYOUT = Layout(observation=len(FEATURES), actions=5, policy=(), value=())
LOG = ("--world", "dollar", "--markets", "10", "--latency", "none", "--episode", "10s", "--episodes", "60")


def make(folder: Path, name: str, seed: int, hold: float = 2.0, **changes: object) -> Path:
    """A model nobody trained that holds more often than not, decides every second, and trades five contracts."""
    network = models.untrained(LAYOUT, seed)
    arrays = {key: np.array(array) * np.float32(0.15) for key, array in network.arrays.items()}
    arrays["policy.0.bias"][0] += hold
    facts = models.facts(
        **{
            "name": name,
            "actions": Actions(name="default", sizes_e2=(500,)),
            "features": Features(schema=SCHEMA, names=tuple(feature.name for feature in FEATURES)),
            "decision_interval_us": 1_000_000,
            "limits": {"max_order": 500, "max_position": 2_000, "max_open": 4},
            "assumptions": {"cash_e6": 1_000_000_000},
            **changes,
        }
    )
    return bundle.save(folder / name, Network(LAYOUT, arrays), facts).path


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return make(tmp_path, "old", 1)


@pytest.fixture
def new(tmp_path: Path) -> Path:
    return make(tmp_path, "new", 2)


@pytest.fixture
def log(kflow: Kflow, old: Path, tmp_path: Path) -> Path:
    done = kflow("offpolicy", "log", old, *LOG, "--out", "log")
    assert done.code == 0, done
    return tmp_path / "log.npz"


def test_from_a_log_to_an_estimate(kflow: Kflow, old: Path, new: Path) -> None:
    made = kflow("offpolicy", "log", old, *LOG, "--out", "logs/one.npz", "--json")
    assert made.code == 0, made
    assert made.json["episodes"] == 60
    assert made.json["events"] == 10
    assert made.json["decisions"] == 600
    assert "kflow offpolicy estimate logs/one.npz MODEL" in made.err
    done = kflow("offpolicy", "estimate", "logs/one.npz", new, "--json")
    assert done.code == 0, done
    told = done.json
    assert told["new_policy"] == {"model": "new:1", "temperature": 1.0, "epsilon": 0.0}
    assert told["simulator"] == {"fills": "queue", "latency": "none", "calibration": "none", "rollouts": 4}
    assert told["simulator_agreed"] == 1
    assert [line["name"] for line in told["estimates"]] == ["is", "wis", "dr", "wdr", "model"]
    assert told["old"]["value"] == pytest.approx(made.json["profit_per_episode"], abs=1e-4)
    assert told["in_sample"] is False
    assert kflow("offpolicy", "estimate", "logs/one", new, "--json").json == {**told, "log": "logs/one"}


def test_the_log_is_the_same_for_the_same_seed(kflow: Kflow, old: Path) -> None:
    made = [kflow("offpolicy", "log", old, *LOG, "--seed", seed, "--out", f"l{n}", "--json") for n, seed in
            enumerate((3, 3, 4))]  # fmt: skip
    hashes = [done.json["sha256"] for done in made]
    assert hashes[0] == hashes[1]
    assert hashes[0] != hashes[2]


def test_its_own_policy_comes_to_what_it_earned(kflow: Kflow, old: Path, log: Path) -> None:
    told = kflow("offpolicy", "estimate", log, old, "--epsilon", "0.05", "--rollouts", "0", "--json").json
    assert told["estimates"][0]["value"] == pytest.approx(told["old"]["value"], abs=1e-12)
    assert told["effective"]["least"] == 60
    assert told["simulator"] is None
    assert told["simulator_agreed"] is None
    assert told["sentence"].endswith("not distinguishable from the old one")


def test_for_people(kflow: Kflow, log: Path, new: Path) -> None:
    done = kflow("offpolicy", "estimate", log, new)
    assert done.code == 0, done
    assert "old policy, as played" in done.out
    assert "doubly robust" in done.out
    assert "60 episodes of 10 events; where it is worst" in done.out
    assert "the simulator stood where the log did at 100.0% of decisions" in done.out
    assert done.out.rstrip().splitlines()[-1].startswith("the new policy earns ")
    rows = list(csv.DictReader(io.StringIO(kflow("offpolicy", "estimate", log, new, "--format", "csv").out)))
    assert [row["estimate"] for row in rows][1] == "per-decision importance sampling"


def test_too_little_of_the_log_counts(kflow: Kflow, log: Path, tmp_path: Path) -> None:
    other = make(tmp_path, "other", 3, hold=-4.0)
    refused(kflow("offpolicy", "estimate", log, other), 6, "of 60 episodes", "but 30 are needed", "--episode")


def test_what_the_old_one_never_did(kflow: Kflow, old: Path, new: Path) -> None:
    made = kflow("offpolicy", "log", old, *LOG, "--temperature", "0", "--epsilon", "0", "--out", "greedy")
    assert made.code == 0, made
    refused(kflow("offpolicy", "estimate", "greedy.npz", new), 6, "that the old one never took", "--epsilon 0.05")


def test_what_it_was_trained_on(kflow: Kflow, log: Path, tmp_path: Path) -> None:
    digest = json.loads(log.with_suffix(".json").read_text())["markets"][0]["digest"]
    seen = bundle.Seen(market="M", digest=digest, source="world dollar")
    model = make(tmp_path, "seen", 2, trained_on=(seen,))
    refused(kflow("offpolicy", "estimate", log, model), 2, "was trained on DOLLAR-1000000", "--in-sample")
    done = kflow("offpolicy", "estimate", log, model, "--in-sample", "--rollouts", "0")
    assert done.code == 0, done
    assert "IN SAMPLE. the new policy earns" in done.out
    assert (
        kflow("offpolicy", "estimate", log, model, "--in-sample", "--rollouts", "0", "--json").json["in_sample"] is True
    )


def test_models_that_do_not_fit(kflow: Kflow, log: Path, tmp_path: Path) -> None:
    larger = make(tmp_path, "larger", 2, actions=Actions(name="default", sizes_e2=(1000,)))
    refused(kflow("offpolicy", "estimate", log, larger), 9, "acts by default of 10 contracts")
    faster = make(tmp_path, "faster", 2, decision_interval_us=250_000)
    refused(kflow("offpolicy", "estimate", log, faster), 9, "decides every 0.25 s, the log every 1 s")
    blind = make(tmp_path, "blind", 2, features=Features(schema="beef", names=("x",) * len(FEATURES)))
    refused(kflow("offpolicy", "estimate", log, blind), 9, "features of schema beef")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("log", "old/old.json", "--world", "moon", "--out", "x"), 2, ("there is no world moon",)),
        (("log", "old/old.json", "--world", "dollar", "--sessions", "1", "--out", "x"), 2, ("two sources",)),
        (("log", "old/old.json", "--world", "dollar", "--markets", "0", "--out", "x"), 2, ("none to trade on",)),
        (("log", "old/old.json", *LOG, "--epsilon", "2", "--out", "x"), 2, ("2 is no share",)),
        (("log", "old/old.json", *LOG, "--out", "log"), 2, ("is there already",)),
        (("estimate", "nothing.npz", "old/old.json"), 2, ("cannot read nothing",)),
        (("estimate", "log.npz", "nothing/at-all.json"), 9, ("cannot be read",)),
        (("estimate", "log.npz", "old/old.json", "--temperature", "-1"), 2, ("temperature of -1",)),
        (("estimate", "log.npz", "old/old.json", "--latency", "soon"), 2, ("'soon' is no latency",)),
    ],
)  # fmt: skip
def test_what_cannot_be(kflow: Kflow, log: Path, arguments: tuple[str, ...], code: int, words: tuple[str, ...]) -> None:
    refused(kflow("offpolicy", *arguments), code, *words)


def test_a_damaged_log(kflow: Kflow, log: Path, old: Path) -> None:
    whole = bytearray(log.read_bytes())
    whole[len(whole) // 2] ^= 1
    log.write_bytes(whole)
    refused(kflow("offpolicy", "estimate", log, old), 6, "is damaged", "write it again")
