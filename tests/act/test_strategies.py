"""Who decides is chosen by name; what cannot be trusted or is too large is refused before anything else happens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kflow.act.strategies import choose
from kflow.errors import ConfigError, ModelError, UsageError
from kflow.policy import bundle
from kflow.policy.actions import ActionSet, action_set
from kflow.policy.bundle import Actions, Bundle, Features
from kflow.policy.features import FEATURES, SCHEMA
from kflow.policy.network import Layout
from kflow.testing.models import facts, untrained

MASK = np.ones(21, np.bool_)


def model(folder: Path, *, schema: str = SCHEMA, sizes: tuple[int, ...] = (100, 200, 300, 400, 1_000)) -> Bundle:
    names = tuple(feature.name for feature in FEATURES)
    told = facts(
        features=Features(schema=schema, names=names),
        actions=Actions(name="default", sizes_e2=sizes),
        limits={"max_order": 1_000, "max_position": 5_000, "max_open": 4},
        assumptions={"cash_e6": 250_000_000},
        decision_interval_us=500_000,
    )
    return bundle.save(folder, untrained(Layout(observation=len(FEATURES), actions=21)), told)


class Mine:
    """A strategy of the user's own: three things, and no base class."""

    name = "mine"

    def __init__(self) -> None:
        self.actions: ActionSet = action_set("default", [500])

    def decide(self, observation: np.ndarray, mask: np.ndarray) -> int:
        return int(mask[2]) * 2 + int(observation[0] > 2)


class NoActions:
    name = "none"
    actions = ("HOLD",)

    def decide(self, _observation: np.ndarray, _mask: np.ndarray) -> int:
        return 0


def test_a_model_decides_as_its_network_does_under_what_its_card_says(tmp_path: Path) -> None:
    found = model(tmp_path)
    chosen = choose("rl_model", found, contracts=10)
    observation = np.linspace(-1, 1, len(FEATURES)).astype(np.float32)
    assert chosen.decide(observation, MASK) == found.network.act(observation)
    assert (chosen.cash, chosen.every_us, chosen.limits) == (250_000_000, 500_000, (1_000, 5_000, 4))
    assert (chosen.model, chosen.sha256) == ("ppo-1.5:1", found.card.weights_sha256)


def test_a_model_of_other_features_is_refused_naming_both(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"schema abc123, this kflow computes {SCHEMA}"):
        choose("rl_model", model(tmp_path, schema="abc123"), contracts=10)


def test_a_model_whose_orders_are_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="orders of 100 contracts, and 10 are allowed") as told:
        choose("rl_model", model(tmp_path, sizes=(500, 1_000, 2_000, 5_000, 10_000)), contracts=10)
    assert "RL_ACTOR_CONTRACT_SIZE" in str(told.value.hint)


@pytest.mark.parametrize("name", ["hold", "random", "cross", "join", "skewed", "favourite"])
def test_hand_written_ones_by_name(name: str) -> None:
    chosen = choose(f"hardcoded:{name}", None, contracts=5)
    assert set(chosen.actions.sizes) == {500}
    count = len(chosen.actions.actions)
    assert 0 <= chosen.decide(np.zeros(len(FEATURES), np.float32), np.ones(count, np.bool_)) < count


def test_hardcoded_alone_holds() -> None:
    assert choose("hardcoded", None, contracts=5).decide(np.ones(len(FEATURES), np.float32), MASK) == 0


def test_a_class_of_the_users_own() -> None:
    chosen = choose(f"{__name__}:Mine", None, contracts=10)
    assert chosen.decide(np.zeros(len(FEATURES), np.float32), np.ones(5, np.bool_)) == 2


@pytest.mark.parametrize(
    ("strategy", "error", "words"),
    [
        ("disabled", UsageError, "disabled"),
        ("rl_model", UsageError, "needs a model"),
        ("hardcoded:clever", UsageError, "no strategy clever"),
        ("clever", UsageError, "no strategy clever"),
        ("no.such.module:Class", ConfigError, "cannot be had"),
        (f"{__name__}:Missing", ConfigError, "cannot be had"),
        (f"{__name__}:NoActions", ConfigError, "no ActionSet"),
    ],
)
def test_what_there_is_not(strategy: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        choose(strategy, None, contracts=10)


def test_a_class_whose_orders_are_too_large() -> None:
    with pytest.raises(ModelError, match="5 contracts, and 4 are allowed"):
        choose(f"{__name__}:Mine", None, contracts=4)
