"""Export: the numpy network decides as Stable-Baselines3 does, and an archive from elsewhere runs nothing."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from sb3_contrib import MaskablePPO
from stable_baselines3 import A2C, DQN, PPO

from kflow.errors import ModelError
from kflow.policy import bundle
from kflow.policy.bundle import Actions, Features
from kflow.rl import export
from kflow.testing.models import facts

FEATURES, ACTIONS, ROWS = 24, 21, 10_000


class Noise(gym.Env[np.ndarray, int]):
    """Something to see, something to do."""

    observation_space = gym.spaces.Box(-1, 1, (FEATURES,), np.float32)
    action_space: gym.spaces.Space[Any] = gym.spaces.Discrete(ACTIONS)

    def action_masks(self) -> np.ndarray:
        return np.ones(ACTIONS, bool)


class Continuous(Noise):
    action_space = gym.spaces.Box(-1, 1, (ACTIONS,), np.float32)


def with_random_weights(kind: type, env: gym.Env | None = None, **policy: object) -> Any:
    """A model whose every weight counts: those that training begins with choose nearly alike."""
    model: Any = kind("MlpPolicy", env or Noise(), policy_kwargs=policy, seed=3, device="cpu")
    with torch.no_grad():
        for weights in model.policy.parameters():
            weights.normal_(std=weights.shape[-1] ** -0.5)
    return model


KINDS = [(kind, activation) for kind in (PPO, A2C, MaskablePPO) for activation in (torch.nn.Tanh, torch.nn.ReLU)]


@pytest.mark.parametrize(("kind", "activation"), KINDS)
def test_numpy_decides_as_the_library_does(kind: type, activation: type, tmp_path: Path) -> None:
    net_arch = {"pi": [64, 64], "vf": [32]} if activation is torch.nn.ReLU else [64, 64]
    model = with_random_weights(kind, activation_fn=activation, net_arch=net_arch)
    network = export.network_of(model)
    draw = np.random.default_rng(1)
    observations = draw.uniform(-1, 1, (ROWS, FEATURES)).astype(np.float32)
    masks = draw.random((ROWS, ACTIONS)) < 0.3
    masks[:, 0] = True
    rules = [None, masks] if kind is MaskablePPO else [None]
    for mask in rules:
        theirs, _ = model.predict(observations, deterministic=True, **({} if mask is None else {"action_masks": mask}))
        assert np.array_equal(network.act_batch(observations, mask), theirs)
        rows = [None] * ROWS if mask is None else list(mask)
        assert [network.act(row, allowed) for row, allowed in zip(observations, rows, strict=True)] == theirs.tolist()
        assert len(set(theirs.tolist())) > 5
    with torch.no_grad():
        tensor = torch.as_tensor(observations)
        latent, worth = model.policy.mlp_extractor(model.policy.extract_features(tensor))
        logits, values = model.policy.action_net(latent), model.policy.value_net(worth)
    assert np.abs(network.logits(observations) - logits.numpy()).max() < 1e-5
    assert np.abs(network.values(observations) - values.numpy()[:, 0]).max() < 1e-5

    model.save(tmp_path / "model.zip")
    made = export.from_zip(tmp_path / "model.zip", fitting(), tmp_path / "out")
    for name, array in bundle.load(made.path).network.arrays.items():
        assert np.array_equal(array, network.arrays[name])
    assert made.network.layout == network.layout


def fitting() -> bundle.Facts:
    names = tuple(f"x{number}" for number in range(FEATURES))
    return facts(features=Features(schema="s", names=names))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sb3") / "model.zip"
    with_random_weights(PPO).save(path)
    return path


def refused(path: Path, folder: Path, *words: str) -> None:
    with pytest.raises(ModelError) as caught:
        export.from_zip(path, fitting(), folder)
    assert caught.value.hint
    for word in words:
        assert word in str(caught.value)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("kind", "env", "policy", "words"),
    [
        (PPO, Noise, {"activation_fn": torch.nn.GELU}, "GELU"),
        (PPO, Continuous, {}, "not discrete"),
        (DQN, Noise, {}, "not MlpPolicy"),
    ],
)
def test_policies_of_another_kind_are_refused(
    tmp_path: Path, kind: type, env: type[gym.Env], policy: dict[str, object], words: str
) -> None:
    model = with_random_weights(kind, env(), **policy)
    model.save(tmp_path / "model.zip")
    refused(tmp_path / "model.zip", tmp_path / "out", words)
    with pytest.raises(ModelError):
        export.network_of(model)


def test_facts_that_do_not_fit_are_refused(saved: Path, tmp_path: Path) -> None:
    other = bundle.Facts(**{n: getattr(fitting(), n) for n in bundle.Facts.__struct_fields__ if n != "actions"},
                         actions=Actions(name="default", sizes_e2=(500,)))  # fmt: skip
    with pytest.raises(ModelError, match="names 5 actions for a network that chooses of 21"):
        export.from_zip(saved, other, tmp_path / "out")
    with pytest.raises(ModelError, match="names 3 features"):
        export.from_zip(saved, facts(), tmp_path / "out")


def rewritten(saved: Path, path: Path, **members: bytes) -> Path:
    """The archive with some members replaced; `_` in their names stands for a dot."""
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, members.get(name.replace(".", "_"), old.read(name)))
    return path


class Canary:
    """Unpickled, it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


def test_nothing_in_an_archive_is_executed(saved: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    torch.save(Canary(canary), weights := io.BytesIO())
    torch.load(io.BytesIO(weights.getvalue()), weights_only=False)
    canary.rmdir()  # so it bites those who load it carelessly
    for raw in (weights.getvalue(), pickle.dumps(Canary(canary))):
        refused(rewritten(saved, tmp_path / "a.zip", policy_pth=raw), tmp_path / "out", "other things than tensors")
    everything = rewritten(
        saved,
        tmp_path / "b.zip",
        pytorch_variables_pth=weights.getvalue(),
        policy_optimizer_pth=weights.getvalue(),
    )
    export.from_zip(everything, fitting(), tmp_path / "fine")
    assert not canary.exists()


def test_the_pickles_of_an_archive_are_not_read(saved: Path, tmp_path: Path) -> None:
    """Each of them is a canary, and yet the export is the same."""
    import base64
    import json

    canary = tmp_path / "canary"
    with zipfile.ZipFile(saved) as archive:
        about = json.loads(archive.read("data"))
    bomb = base64.b64encode(pickle.dumps(Canary(canary))).decode()
    for told in about.values():
        if isinstance(told, dict) and ":serialized:" in told:
            told[":serialized:"] = bomb
    path = rewritten(saved, tmp_path / "model.zip", data=json.dumps(about).encode())
    made = export.from_zip(path, fitting(), tmp_path / "out")
    assert made.card.weights_sha256 == export.from_zip(saved, fitting(), tmp_path / "own").card.weights_sha256
    assert not canary.exists()
    with pytest.raises(Exception):  # noqa: B017, PT011 - the library itself runs it, whatever it then says
        PPO.load(path)
    assert canary.exists()


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'{"policy_class": 1}', b"\xff"])
def test_an_archive_that_says_nothing_of_itself_is_refused(saved: Path, tmp_path: Path, data: bytes) -> None:
    refused(rewritten(saved, tmp_path / "model.zip", data=data), tmp_path / "out")


def test_what_is_no_archive_is_refused(saved: Path, tmp_path: Path) -> None:
    refused(tmp_path / "none.zip", tmp_path / "out", "is no model of Stable-Baselines3")
    (tmp_path / "model.zip").write_bytes(saved.read_bytes()[:500])
    refused(tmp_path / "model.zip", tmp_path / "out", "is no model of Stable-Baselines3")
    for weights in (b"", saved.read_bytes()[:1000]):
        refused(rewritten(saved, tmp_path / "model.zip", policy_pth=weights), tmp_path / "out", "tensors")
    with zipfile.ZipFile(tmp_path / "model.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data", bytes(200_000_000))
    refused(tmp_path / "model.zip", tmp_path / "out", "larger than")
