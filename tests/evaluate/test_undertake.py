"""From a request to its document: who plays, what is kept, and that going on comes to the same."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from kflow.errors import DataError, UsageError
from kflow.evaluate import document, parts, undertake
from kflow.evaluate import request as requests
from kflow.evaluate.request import Request
from kflow.policy.strategies import strategy_named
from kflow.rl.plan import Plan, Source
from kflow.rl.presets import hyper_of
from kflow.rl.quotes import START_US
from kflow.rl.worlds import make_tapes
from kflow.sim.fills import BAND
from kflow.sim.tape import Tape

REQUEST = Request(
    judged=("join",),
    baselines=("hold", "join", "random"),
    source=Source(world="fair", count=8, seed=3),
    seeds=2,
    episode_us=30_000_000,
    scales=(1, 2),
)
VARIANTS = {"join": (3, "three were tried")}


@pytest.fixture(scope="module")
def tapes() -> list[Tape]:
    return make_tapes("fair", 8, seed=3, seconds=40)


def evaluated(request: Request, tapes: list[Tape], folder: Path, known: dict[str, Any] | None = None) -> dict[str, Any]:
    ready = undertake.prepare(request, tapes, {})
    told: list[int] = []
    outcome = undertake.carry_out(ready, folder, VARIANTS, ["kflow", "evaluate"], known or {}, told.append)
    assert sum(told) == ready.decisions
    return outcome.whole


@pytest.fixture(scope="module")
def whole(tapes: list[Tape], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("evaluation")
    found = evaluated(REQUEST, tapes, folder)
    assert json.loads((folder / document.FILE).read_text()) == json.loads(msgspec.json.encode(found))
    assert not (folder / parts.FOLDER).exists()
    return found


def test_the_judged_come_first_and_once(whole: dict[str, Any]) -> None:
    assert [(one["name"], one["kind"]) for one in whole["contestants"]] == [
        ("join", "strategy"),
        ("hold", "baseline"),
        ("random", "baseline"),
    ]
    assert whole["judged"] == ["join"]


def test_every_contestant_is_shown_under_the_whole_band(whole: dict[str, Any]) -> None:
    shown = [(one["contestant"], one["fill_model"]) for one in whole["results"]]
    assert shown == [(name, model) for name in ("join", "hold", "random") for model in BAND]
    assert [one["contestant"] for one in whole["band"]] == ["join", "hold", "random"]
    assert {one["scale"] for one in whole["capacity"]} == {1, 2}
    assert {(one["contestant"], one["against"], one["fill_model"]) for one in whole["comparisons"]} == {
        ("join", other, model) for other in ("hold", "random") for model in BAND
    }
    assert (whole["variants"], whole["variants_why"]) == VARIANTS["join"]


class Joins:
    """A class of one's own that does what the baseline does."""

    name = "joins"
    join = strategy_named("join", 1_000)
    actions = join.actions

    def decide(self, observation: NDArray[np.float32], mask: NDArray[np.bool_]) -> int:
        return int(self.join.decide(observation[None], mask[None], np.zeros(1))[0])


def test_a_class_of_ones_own_is_judged_as_if_it_were_ours(tapes: list[Tape], tmp_path: Path) -> None:
    own = f"{__name__}:Joins"
    request = msgspec.structs.replace(REQUEST, judged=(own,), baselines=("join",), scales=(1,))
    ready = undertake.prepare(request, tapes, {})
    whole = undertake.carry_out(ready, tmp_path, {own: (1, "one")}, ["kflow"], {}, lambda _: None).whole
    [mine, *_] = whole["contestants"]
    assert (mine["name"], mine["kind"]) == (own, "strategy")
    assert mine["about"].startswith("a class of one's own (test_undertake.py, SHA-256 ")
    profits = {
        name: [(one["fill_model"], one["profit"]) for one in whole["results"] if one["contestant"] == name]
        for name in (own, "join")
    }
    assert [model for model, _ in profits[own]] == list(BAND)
    assert profits[own] == profits["join"]
    assert any(profit["total"] for _, profit in profits[own])


def test_it_says_what_it_rests_on(whole: dict[str, Any], tapes: list[Tape]) -> None:
    data = whole["data"]
    # Of 40 s an episode of 30 s and one of what is left.
    assert (data["events"], data["markets"], data["episodes"]) == (8, 8, 16)
    assert data["settled_markets"] == 8
    assert data["seconds"] == 8 * 40
    assert data["from"] == document.moment(START_US)
    assert [tape["result"] for tape in data["tapes"]] == [tape.facts["result"] for tape in tapes]
    assert data["gaps"] == []
    assert set(whole["assumptions"]["models"]) == set(BAND)
    assert whole["assumptions"]["latency"] == "home"
    assert "8 independent events" in whole["sentence"]


def test_it_goes_on_where_it_was_stopped_and_comes_to_the_same(
    whole: dict[str, Any], tapes: list[Tape], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(Exception):
        pass

    done = 0

    def stop(decisions: int) -> None:
        nonlocal done
        done += decisions
        if done > 10_000:
            raise Stopped

    ready = undertake.prepare(REQUEST, tapes, {})
    with pytest.raises(Stopped):
        undertake.carry_out(ready, tmp_path, VARIANTS, ["kflow", "evaluate"], {}, stop)
    kept = list((tmp_path / parts.FOLDER).glob("*.npz"))
    assert kept
    request, known = requests.read_request(tmp_path)
    assert request == REQUEST
    played: list[str] = []
    monkeypatch.setattr("kflow.evaluate.judge.play", _counted(played))
    again = evaluated(request, tapes, tmp_path, known)
    assert len(played) == 10 - len(kept)
    same = ("results", "band", "capacity", "comparisons", "sentence", "data")
    assert {name: again[name] for name in same} == {name: whole[name] for name in same}


def _counted(played: list[str]) -> Any:
    from kflow.evaluate.run import play

    def counted(contestant: Any, *arguments: Any, **options: Any) -> Any:
        played.append(contestant.name)
        return play(contestant, *arguments, **options)

    return counted


def test_it_does_not_go_on_with_other_tapes(tapes: list[Tape], tmp_path: Path) -> None:
    evaluated(REQUEST, tapes, tmp_path)
    request, known = requests.read_request(tmp_path)
    with pytest.raises(DataError, match="began with other tapes or weights"):
        evaluated(request, tapes[:7], tmp_path, known)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"judged": ("clever",)}, "there is no policy clever"),
        ({"baselines": ("clever",)}, "no strategy clever"),
        ({"seeds": 0}, "0 seeds"),
        ({"most": 0}, "0 episodes"),
        ({"scales": (2, 1)}, "ascending"),
        ({"scales": (1, 20_000)}, "10,000 at most"),
        ({"variants": 0}, "0 variants"),
        ({"embargo_us": -1}, "embargo"),
        ({"size": 0.0}, "0 contracts"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], words: str, tapes: list[Tape]) -> None:
    with pytest.raises(UsageError, match=words):
        undertake.prepare(msgspec.structs.replace(REQUEST, **changes), tapes, {})


def test_a_folder_that_holds_no_evaluation(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        requests.read_request(tmp_path)
    (tmp_path / requests.FILE).write_text('{"request": {"judged": 3}}')
    with pytest.raises(DataError, match="of another version"):
        requests.read_request(tmp_path)


def test_a_walk_forward_trains_anew_for_each_fold(tmp_path: Path) -> None:
    """Events a day apart: each fold is judged on later ones than it was trained on, and no event twice."""
    pytest.importorskip("stable_baselines3")
    days = [_later(tape, day) for day, tape in enumerate(make_tapes("reverting", 6, seed=1, seconds=40))]
    plan = Plan(
        hyper=hyper_of("ppo", "kflow", {"n_steps": "64", "batch_size": "256", "n_epochs": "1"}),
        envs=8,
        steps=512,
        source=REQUEST.source,
        sizes=(1_000,),
        episode_us=30_000_000,
        evaluate_every=10**6,
    )
    request = msgspec.structs.replace(
        REQUEST, judged=("ppo walking forward",), baselines=("hold",), plan=plan, folds=2, scales=(1,)
    )
    said: list[str] = []
    ready = undertake.walk(request, days, tmp_path, said.append, lambda _: nullcontext(lambda _: None))
    assert [
        sorted({stage.held.dataset.spans[e.span].event for e in stage.held.episodes}) for stage in ready.stages
    ] == [
        [tape.market for tape in days[2:4]],
        [tape.market for tape in days[4:]],
    ]
    assert len(said) == 2
    outcome = undertake.carry_out(ready, tmp_path, {}, [], {}, lambda _: None)
    assert outcome.whole["data"]["events"] == 4
    assert [one["event"] for one in outcome.whole["data"]["left_out"]] == [tape.market for tape in days[:2]]
    assert len(outcome.whole["results"][0]["events"]) == 4


def _later(tape: Tape, days: int) -> Tape:
    from dataclasses import replace

    moved = tape.arrays.us + days * 86_400_000_000
    return replace(tape, arrays=tape.arrays._replace(us=moved))
