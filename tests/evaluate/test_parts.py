"""What was played is kept whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kflow.evaluate import parts
from kflow.evaluate.contestants import baselines
from kflow.evaluate.held import Held
from kflow.evaluate.outcome import Played
from kflow.evaluate.parts import Unit
from kflow.evaluate.run import play
from kflow.rl.batch import LIMITS
from kflow.sim.fills import MODELS

UNIT = Unit("cross", "queue", 2)


@pytest.fixture(scope="module")
def played(fair: Held) -> list[Played]:
    (cross,) = baselines(("cross",), 10, LIMITS, 0.1)
    return play(cross, fair, MODELS["queue"], seeds=[0, 1])


def test_what_is_read_is_what_was_kept(played: list[Played], tmp_path: Path) -> None:
    parts.save(tmp_path, UNIT, played)
    found = parts.load(tmp_path, UNIT)
    assert found is not None
    for one, again in zip(played, found, strict=True):
        assert one[:4] == again[:4]
        assert one.curve.every_us == again.curve.every_us
        for table in ("episodes", "orders", "fills", "curve"):
            pairs = zip(getattr(one, table), getattr(again, table), strict=True)
            assert all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)
        assert (one.actions == again.actions).all()


@pytest.mark.parametrize(
    "other", [UNIT._replace(seeds=3), UNIT._replace(scale=2), UNIT._replace(stage=1), UNIT._replace(contestant="../x")]
)
def test_another_unit_is_another_file(other: Unit, tmp_path: Path, played: list[Played]) -> None:
    parts.save(tmp_path, UNIT, played)
    assert other.path(tmp_path).parent == UNIT.path(tmp_path).parent
    assert parts.load(tmp_path, other) is None


def test_a_torn_file_is_played_again(played: list[Played], tmp_path: Path) -> None:
    parts.save(tmp_path, UNIT, played)
    path = UNIT.path(tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    assert parts.load(tmp_path, UNIT) is None


def test_folds_become_one(played: list[Played], fair: Held) -> None:
    whole = parts.joined(played)
    count, sent = len(fair.episodes), len(played[0].orders.size)
    assert len(whole.episodes.market) == 2 * count
    assert whole.orders.episode.tolist() == [*played[0].orders.episode, *(played[1].orders.episode + count)]
    assert whole.fills.order.tolist() == [*played[0].fills.order, *(played[1].fills.order + sent)]
    assert whole.fills.episode.max() >= count
    assert whole.curve.equity.shape[0] == 2 * count
    assert whole.actions.sum() == sum(one.actions.sum() for one in played)


def test_what_is_needed_no_more_goes(played: list[Played], tmp_path: Path) -> None:
    parts.save(tmp_path, UNIT, played)
    parts.forget(tmp_path)
    assert not list(tmp_path.iterdir())
