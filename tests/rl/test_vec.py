"""The batch as Stable-Baselines3 uses it: what a rollout stores is what was seen, and its algorithms run on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnvWrapper, VecMonitor

from kflow.errors import UsageError
from kflow.rl.batch import Finished, Setup
from kflow.rl.env import KalshiMarketEnv
from kflow.rl.given import Given, open_batch
from kflow.rl.vec import KalshiVecEnv

from .playing import batch, made, random_actions


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def vec(count: int = 8, rows: int = 20, **options: Any) -> KalshiVecEnv:
    return KalshiVecEnv(batch(count, rows), **options)


class Slow(VecEnvWrapper):
    """Hands on what it is handed, and keeps a copy of it."""

    def __init__(self, venv: KalshiVecEnv) -> None:
        super().__init__(venv)
        self.copies: list[NDArray[np.float32]] = []

    def reset(self) -> Any:
        return self._kept(self.venv.reset())

    def step_wait(self) -> Any:
        observations, *rest = self.venv.step_wait()
        return self._kept(observations), *rest

    def _kept(self, observations: Any) -> Any:
        self.copies.append(observations.copy())
        return observations


class InPlace(Slow):
    """What must not be: one buffer that is written over and over."""

    def _kept(self, observations: Any) -> Any:
        self.copies.append(observations.copy())
        if not hasattr(self, "_buffer"):
            self._buffer = observations.copy()
        self._buffer[:] = observations
        return self._buffer


def stored_and_seen(env: Slow) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """[T, N, F] of a rollout: what the algorithm stored, and what the environment said."""
    model = PPO("MlpPolicy", env, n_steps=64, batch_size=64, n_epochs=1, seed=0, device="cpu")
    model.learn(64 * env.num_envs)
    stored = model.rollout_buffer.observations
    if stored.shape[:2] != (64, env.num_envs):  # training has put it into one row of both
        stored = stored.reshape(env.num_envs, 64, -1).swapaxes(0, 1)
    return stored, np.stack(env.copies[:64])


def test_a_rollout_stores_the_observations_that_were_decided_on() -> None:
    """Stable-Baselines3 keeps the last ones by reference, and stores them after the next step."""
    stored, seen = stored_and_seen(Slow(vec()))
    assert (np.diff(seen, axis=0) != 0).any(axis=(1, 2)).all()
    assert stored.tobytes() == seen.tobytes()


def test_a_buffer_written_in_place_would_have_been_noticed() -> None:
    stored, seen = stored_and_seen(InPlace(vec()))
    assert (stored[:-1] == seen[1:]).all()
    assert (stored[:-1] != seen[:-1]).any()


def test_observations_stay_until_the_step_after_the_next() -> None:
    env, rows = vec(), random_actions(40, 8)
    before, copy = env.reset(), env.batch.observations.copy()
    for row in rows:
        now = env.step(row)[0]
        assert before.tobytes() == copy.tobytes()
        assert not np.shares_memory(before, now)
        before, copy = now, now.copy()


def test_infos_tell_of_ends_and_of_nothing_else() -> None:
    records: list[Finished] = []
    env = vec(on_finished=records.append)
    env.seed(3)
    env.reset()
    total, ends = np.zeros(8), 0
    for row in random_actions(150, 8):
        observations, rewards, dones, infos = env.step(row)
        assert (observations.shape, rewards.dtype, dones.dtype) == ((8, observations.shape[1]), np.float32, np.bool_)
        total += rewards
        assert [bool(info) for info in infos] == dones.tolist()
        for account in np.flatnonzero(dones):
            info, done = infos[account], records[ends]
            ends += 1
            assert info["finished"] is done
            assert (info["terminal_observation"] == done.observation).all()
            assert (info["terminal_observation"] != observations[account]).any()
            assert info["TimeLimit.truncated"] == (done.ending == "cut")
            assert (info["episode"]["r"], info["episode"]["l"]) == (pytest.approx(total[account], abs=1e-4), done.steps)
            assert info["episode"]["t"] >= 0
            total[account] = 0
    assert len(records) == ends > 50
    assert {"settled", "cut"} <= {done.ending for done in records}


def test_it_is_the_same_as_the_environment_alone() -> None:
    env, one = vec(64), KalshiMarketEnv(dataset=made(), actions="wide", episode=5)
    env.seed(6)
    assert env.reset()[0].tobytes() == one.reset(seed=6)[0].tobytes()
    for row in random_actions(150, 64):
        observations, rewards, dones, infos = env.step(row)
        observation, reward, terminated, truncated, info = one.step(row[0])
        assert (rewards[0], dones[0]) == (reward, terminated or truncated)
        if dones[0]:
            assert infos[0]["terminal_observation"].tobytes() == observation.tobytes()
            assert infos[0]["TimeLimit.truncated"] == truncated
            assert infos[0]["finished"].profit == info["finished"]["profit_e6"]
            observation, _ = one.reset()
        assert observations[0].tobytes() == observation.tobytes()


def test_a_seed_is_used_once() -> None:
    env = vec()
    env.seed(1)
    first, second = env.reset().copy(), env.reset().copy()
    env.seed(1)
    assert env.reset().tobytes() == first.tobytes()
    assert env.reset().tobytes() == second.tobytes() != first.tobytes()


def test_masks_are_given_to_who_asks_for_them_account_by_account() -> None:
    env = vec()
    env.reset()
    assert is_masking_supported(env)
    assert (get_action_masks(env) == env.batch.masks()).all()
    assert [mask.tolist() for mask in env.env_method("action_masks", indices=[5, 2])] == [
        env.batch.masks()[account].tolist() for account in (5, 2)
    ]
    assert len(env.env_method("action_masks", indices=3)) == 1
    with pytest.raises(AttributeError, match="no method fly"):
        env.env_method("fly")


def test_attributes_are_those_of_all() -> None:
    env, records = vec(), []
    assert env.get_attr("num_envs", [1, 2]) == [8, 8]
    assert not env.has_attr("wings")
    env.set_attr("on_finished", records.append)
    env.reset()
    for row in random_actions(30, 8):
        env.step(row)
    assert records
    with pytest.raises(UsageError, match="the same for all accounts"):
        env.set_attr("on_finished", None, indices=[1])
    assert env.env_is_wrapped(Monitor, [0, 1]) == [True, True]
    assert env.env_is_wrapped(VecMonitor, 0) == [False]
    env.set_options({"span": 1})
    with pytest.raises(UsageError, match="no options"):
        env.reset()
    env.close()


def test_pictures_are_tiled() -> None:
    env = KalshiVecEnv(batch(2), render_mode="rgb_array")
    env.reset()
    one = env.get_images()[0]
    assert one is not None
    whole = env.render()
    assert whole is not None
    assert whole.size == 2 * one.size
    with pytest.raises(UsageError, match="no render mode ansi"):
        KalshiVecEnv(batch(2), render_mode="ansi")
    with pytest.raises(UsageError, match="rgb_array"):
        vec().get_images()


def test_it_is_made_by_name_and_begins_anew_or_is_refused() -> None:
    ended: list[Finished] = []
    env = KalshiVecEnv.make(2, on_finished=ended.append, world="reverting", markets=1, episode="1s", sizes=[10])
    env.reset()
    for _ in range(8):
        env.step(np.zeros(2, np.int64))
    assert [done.steps for done in ended] == [4] * 4
    with pytest.raises(UsageError, match="these accounts stay where one ends"):
        KalshiVecEnv(open_batch(Given(world="reverting", markets=1), 2))


# What runs on it.


def test_ppo_runs_and_tells_of_episodes() -> None:
    records: list[Finished] = []
    env = vec(16, on_finished=records.append)
    model = PPO("MlpPolicy", env, n_steps=64, batch_size=256, n_epochs=2, seed=0, device="cpu")
    model.learn(2_048)
    assert model.num_timesteps == 2_048
    assert len(records) >= 2_048 // 20 - 16
    assert len(model.ep_info_buffer or []) == min(len(records), 100)
    assert all(bool(torch.isfinite(weights).all()) for weights in model.policy.parameters())
    # Warnings are errors: an environment that tells of episodes by itself needs no Monitor.
    mean, _ = evaluate_policy(model, vec(4), n_eval_episodes=8)
    assert np.isfinite(mean)


def test_a2c_gives_the_same_weights_of_a_seed() -> None:
    def weights() -> list[NDArray[Any]]:
        model = A2C("MlpPolicy", vec(8), n_steps=8, seed=3, device="cpu").learn(512)
        return [tensor.detach().numpy().copy() for tensor in model.policy.parameters()]

    first, second = weights(), weights()
    assert all((one == other).all() for one, other in zip(first, second, strict=True))


def test_maskable_ppo_sends_nothing_that_is_denied() -> None:
    records: list[Finished] = []
    env = vec(16, on_finished=records.append)
    model = MaskablePPO("MlpPolicy", env, n_steps=64, batch_size=256, n_epochs=2, seed=0, device="cpu")
    model.learn(2_048)
    assert model.num_timesteps == 2_048
    assert sum(done.sent for done in records) > 1_000
    assert sum(done.denied for done in records) == 0
    unmasked: list[Finished] = []
    env = vec(16, on_finished=unmasked.append)
    env.reset()
    for row in random_actions(128, 16):
        env.step(row)
    assert sum(done.denied for done in unmasked) > 100


def test_maskable_ppo_runs_on_the_environment_alone() -> None:
    env = KalshiMarketEnv(dataset=made(), setup=Setup(), episode=5)
    MaskablePPO("MlpPolicy", env, n_steps=128, batch_size=64, n_epochs=1, seed=0, device="cpu").learn(256)
