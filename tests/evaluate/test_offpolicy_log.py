"""Logs on disk: what comes back, and that whatever contradicts itself is refused."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from kflow.errors import DataError, UsageError
from kflow.evaluate.offpolicy.log import Log, load, save
from kflow.evaluate.offpolicy.soft import Soft
from kflow.rl import stepping
from kflow.rl.worlds import make_tapes
from kflow.testing.offpolicy import ground, logged, random_policy


@cache
def the_log() -> Log:
    here = ground(make_tapes("dollar", 3, seed=2, seconds=45))
    return logged(Soft(network=random_policy(here, 1), epsilon=0.1), here, 1)


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    kept = save(tmp_path / "sub" / "one.npz", the_log())
    for name in ("one", "one.npz", "one.json"):
        found = load(tmp_path / "sub" / name)
        assert found.card == kept.card
        for mine, theirs in zip(
            (*found.decisions, *found.episodes), (*the_log().decisions, *the_log().episodes), strict=True
        ):
            np.testing.assert_array_equal(mine, theirs)
            assert mine.dtype == theirs.dtype
    with pytest.raises(UsageError, match="is there already"):
        save(tmp_path / "sub" / "one", the_log())
    with pytest.raises(UsageError, match="cannot read"):
        load(tmp_path / "two.npz")


def test_what_a_log_says() -> None:
    log = the_log()
    d, e = log.decisions, log.episodes
    rows = np.arange(len(d.action))
    assert d.mask[rows, d.action].all()
    assert (d.chance[d.mask] >= 0.1 / 5 - 1e-12).all()  # epsilon of five actions
    np.testing.assert_allclose(d.chance.sum(axis=1), 1.0, atol=1e-12)
    assert e.steps.tolist() == [20] * 6
    assert e.first.tolist() == [0, 20] * 3
    assert e.ending.tolist() == [stepping.CUT] * 6
    assert log.ends.tolist() == [20, 40, 60, 80, 100, 120]
    whole = log.padded(d.reward / 1e6, 0.0).sum(axis=1)
    np.testing.assert_allclose(log.returns, whole, rtol=0, atol=1e-12)
    assert len(set(log.events)) == 3


def rewritten(path: Path, arrays: dict[str, Any] | None = None, card: dict[str, Any] | None = None) -> Path:
    """A log with some columns and keys replaced, its hash made to fit."""
    save(path, the_log())
    with np.load(path, allow_pickle=False) as archive:
        columns = {name: archive[name] for name in archive.files}
    columns |= arrays or {}
    out = io.BytesIO()
    np.savez(out, **columns)
    path.write_bytes(out.getvalue())
    return recarded(path, card)


def recarded(path: Path, card: dict[str, Any] | None = None) -> Path:
    text = json.loads(path.with_suffix(".json").read_text())
    text |= {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), **(card or {})}
    path.with_suffix(".json").write_text(json.dumps(text))
    return path


def changed(name: str, place: Any, value: Any) -> dict[str, Any]:
    part, _, column = name.partition(".")
    array = np.array(getattr(getattr(the_log(), part), column))
    array[place] = value
    return {name: array}


def elsewhere() -> dict[str, Any]:
    """All of the first decision's chance is another action's."""
    taken = int(the_log().decisions.action[0])
    return changed("decisions.mask", 0, True) | changed("decisions.chance", 0, np.eye(5)[(taken + 1) % 5])


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        (lambda: changed("decisions.action", 0, 5), "names an action that there is not"),
        (lambda: changed("decisions.observation", (3, 3), np.nan), "numbers that are not finite"),
        (lambda: changed("decisions.chance", (0, 0), 0.9), "chances that are none"),
        (lambda: elsewhere(), "of an action that was taken that it could not be"),
        (lambda: changed("decisions.mask", 0, False), "chances that are none"),
        (lambda: changed("episodes.market", 0, 3), "a market or an ending"),
        (lambda: changed("episodes.ending", 0, 0), "a market or an ending"),
        (lambda: changed("episodes.steps", 0, 1), "do not make up its episodes"),
        (lambda: changed("episodes.steps", 0, -1), "do not make up its episodes"),
        (lambda: changed("episodes.last", 0, 0), "longer than they may be"),
        (lambda: {"decisions.reward": the_log().decisions.reward[:-1]}, "columns of different lengths"),
        (lambda: {"decisions.reward": the_log().decisions.reward * 1.0}, "holds decisions.reward as float64"),
        (lambda: {"decisions.observation": the_log().decisions.observation[:, 1:]}, "not as wide"),
        (lambda: {"more": np.zeros(1)}, "just the columns of a log"),
        (lambda: {"decisions.action": np.array([{}] * 5, object)}, "does not hold the columns"),
    ],
)
def test_columns_that_contradict_themselves_are_refused(tmp_path: Path, arrays: Any, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        load(rewritten(tmp_path / "one.npz", arrays()))
    assert caught.value.hint == "write it again: kflow offpolicy log"


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ({"schema_version": 2}, "has schema version 2, this kflow knows 1"),
        ({"more": 1}, "is no card of a log"),
        ({"every_us": "often"}, "is no card of a log"),
        ({"sha256": "0" * 64}, "is damaged, or another log's"),
        ({"markets": []}, "a market or an ending"),
        ({"actions": {"name": "default", "sizes_e2": [500, 1000]}}, "not as wide|than they may be|larger than"),
    ],
)
def test_cards_that_do_not_fit_are_refused(tmp_path: Path, card: dict[str, Any], words: str) -> None:
    with pytest.raises((DataError, UsageError), match=words):
        load(rewritten(tmp_path / "one.npz", card=card))


def test_archives_that_could_grow_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "one.npz"
    save(path, the_log())
    with np.load(path, allow_pickle=False) as archive:
        columns = {name: archive[name] for name in archive.files}
    np.savez_compressed(path, **columns)
    with pytest.raises(DataError, match=r"holds decisions.observation compressed"):
        load(recarded(path))
    path.write_bytes(b"PK nothing")
    with pytest.raises(DataError, match="does not hold the columns of a log"):
        load(recarded(path))
    with zipfile.ZipFile(path, "w") as file:
        for name in columns:
            file.writestr(f"{name}.npy", b"")
    with pytest.raises(DataError, match="does not hold the columns of a log"):
        load(recarded(path))


def test_a_log_of_real_orders_has_no_fill_model(tmp_path: Path) -> None:
    card = msgspec.structs.replace(the_log().card, fills=None, latency=None)
    save(tmp_path / "real", Log(card, the_log().decisions, the_log().episodes))
    assert load(tmp_path / "real.json").card.fills is None
