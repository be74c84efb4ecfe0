"""Many accounts as Gymnasium knows vector environments: what it says of ends, and each account as if it were alone."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from kflow.errors import UsageError
from kflow.rl.env import KalshiMarketEnv
from kflow.rl.vector import KalshiMarketVectorEnv

from .playing import made, random_actions

GIVEN: dict[str, Any] = {"dataset": made(), "actions": "wide", "episode": 5}


def vector(count: int, **given: Any) -> KalshiMarketVectorEnv:
    return KalshiMarketVectorEnv(count, **{**GIVEN, **given})


def test_it_is_made_by_name() -> None:
    envs = gymnasium.make_vec("kflow/KalshiMarket-v0", num_envs=64, markets=1, world="fair")
    assert (envs.num_envs, envs.metadata["autoreset_mode"]) == (64, AutoresetMode.SAME_STEP)
    observations, infos = envs.reset(seed=1)
    assert observations in envs.observation_space
    assert observations[0] in envs.single_observation_space
    envs.action_space.seed(0)
    observations, rewards, terminated, truncated, infos = envs.step(envs.action_space.sample())
    assert observations in envs.observation_space
    assert [array.shape for array in (rewards, terminated, truncated)] == [(64,)] * 3
    assert (terminated.dtype, truncated.dtype) == (np.bool_, np.bool_)
    assert all(infos[f"_{key}"].shape == (64,) for key in infos if not key.startswith("_"))
    envs.close()


def test_it_says_what_gymnasiums_own_vector_of_the_scalar_environment_says() -> None:
    """Infos, masks and dtypes included; but rewards, which it widens."""
    ours = vector(1)
    theirs = SyncVectorEnv([lambda: KalshiMarketEnv(**GIVEN)], autoreset_mode=AutoresetMode.SAME_STEP)
    assert (ours.observation_space, ours.action_space) == (theirs.observation_space, theirs.action_space)
    first, second = ours.reset(seed=4), theirs.reset(seed=4)
    assert data_equivalence(first, second, exact=True)
    ends = refused = 0
    for chosen in random_actions(300, 1):
        first, second = ours.step(chosen), theirs.step(chosen)
        assert data_equivalence(first[4], second[4], exact=True), (first[4], second[4])
        assert data_equivalence((first[0], *first[2:4]), (second[0], *second[2:4]), exact=True)
        assert first[1].astype(np.float64) == second[1]
        ends += "final_info" in first[4]
        refused += "refused" in first[4]
    assert ends > 10 < refused


def test_an_account_does_the_same_among_64_as_alone_and_among_8() -> None:
    many, few, one = vector(64), vector(8), KalshiMarketEnv(**GIVEN)
    observations, _ = many.reset(seed=9)
    assert observations[:8].tobytes() == few.reset(seed=9)[0].tobytes()
    assert observations[0].tobytes() == one.reset(seed=9)[0].tobytes()
    for chosen in random_actions(200, 64):
        seen, rewards, terminated, truncated, infos = many.step(chosen)
        again, same, *ends, _ = few.step(chosen[:8])
        assert seen[:8].tobytes() == again.tobytes()
        assert (rewards[:8] == same).all()
        assert (terminated[:8] == ends[0]).all()
        assert (truncated[:8] == ends[1]).all()
        observation, reward, *over, info = one.step(chosen[0])
        assert (reward, *over) == (rewards[0], terminated[0], truncated[0])
        if any(over):
            assert infos["final_obs"][0].tobytes() == observation.tobytes()
            assert infos["final_info"]["finished"]["profit_e6"][0] == info["finished"]["profit_e6"]
            assert infos["final_info"]["equity_e6"][0] == info["equity_e6"]
            observation, info = one.reset()
        assert seen[0].tobytes() == observation.tobytes()
        assert infos["equity_e6"][0] == info["equity_e6"]
    assert len({row.tobytes() for row in seen}) > 32  # accounts differ


def test_a_seed_gives_the_same_bytes_and_another_one_others() -> None:
    def told(envs: KalshiMarketVectorEnv, seed: int) -> list[bytes]:
        said = [envs.reset(seed=seed)[0].tobytes()]
        return said + [b"".join(part.tobytes() for part in envs.step(row)[:4]) for row in random_actions(60, 16)]

    envs = vector(16)
    first = told(envs, 1)
    assert told(envs, 1) == first == told(vector(16), 1)
    assert told(envs, 2) != first


def test_the_last_observation_and_all_that_was_earned_are_kept() -> None:
    envs = vector(16)
    envs.reset(seed=2)
    total, steps, ends = np.zeros(16), np.zeros(16, int), 0
    for chosen in random_actions(120, 16):
        observations, rewards, terminated, truncated, infos = envs.step(chosen)
        total, steps = total + rewards, steps + 1
        over = terminated | truncated
        assert not (terminated & truncated).any()
        assert ("final_obs" in infos) == over.any()
        for account in np.flatnonzero(over):
            ends += 1
            done = {key: array[account] for key, array in infos["final_info"]["finished"].items() if key != "shaping"}
            assert done["profit"] == pytest.approx(total[account], abs=1e-4)
            assert done["steps"] == steps[account]
            assert (done["ending"] in ("settled", "ruined")) == terminated[account]
            # It has begun anew, with nothing but its cash.
            assert (infos["equity"][account], infos["position"][account]) == (1000.0, 0.0)
            assert (infos["final_obs"][account] != observations[account]).any()
            total[account] = steps[account] = 0
        if over.any():
            assert (infos["_final_obs"] == over).all()
            assert (infos["_final_info"] == over).all()
            assert [row is None for row in infos["final_obs"]] == (~over).tolist()
    assert ends > 80


def test_gymnasiums_statistics_agree() -> None:
    envs = RecordEpisodeStatistics(vector(8))
    envs.reset(seed=2)
    seen = 0
    for chosen in random_actions(80, 8):
        *_, infos = envs.step(chosen)
        for account in np.flatnonzero(infos.get("_episode", [])):
            seen += 1
            done = infos["final_info"]["finished"]
            assert infos["episode"]["r"][account] == pytest.approx(done["reward"][account], abs=1e-4)
            assert infos["episode"]["l"][account] == done["steps"][account]
    assert seen > 20


def test_what_is_returned_stays_as_it_is() -> None:
    envs = vector(4)
    handed = [envs.reset(seed=0)[0], *(envs.step(row)[0] for row in random_actions(6, 4))]
    copies = [envs.reset(seed=0)[0].copy(), *(envs.step(row)[0].copy() for row in random_actions(6, 4))]
    assert [array.tobytes() for array in handed] == [array.tobytes() for array in copies]


def test_masks_allow_what_is_not_refused() -> None:
    envs = vector(32)
    envs.reset(seed=0)
    refused = 0
    for chosen in random_actions(60, 32):
        allowed = envs.action_masks()[np.arange(32), chosen]
        *_, terminated, truncated, infos = envs.step(chosen)
        goes_on = ~(terminated | truncated)
        assert ((~allowed & goes_on) == infos.get("_refused", np.zeros(32, bool))).all()
        refused += (~allowed).sum()
    assert refused > 100


def test_it_refuses_what_cannot_be() -> None:
    envs = vector(2)
    with pytest.raises(UsageError, match="no episode is running"):
        envs.step(np.zeros(2, int))
    with pytest.raises(UsageError, match="no option reset_mask"):
        envs.reset(options={"reset_mask": np.array([True, False])})
    envs.reset()
    with pytest.raises(UsageError, match="2 actions from 0 to"):
        envs.step(np.zeros(3, int))
    with pytest.raises(UsageError, match="0 accounts"):
        vector(0)
