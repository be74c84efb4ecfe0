"""Hyper-parameters by name, each with where it is from. Names are those of Stable-Baselines3."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from kflow.errors import UsageError

Hyper = dict[str, str | int | float | bool]
ALGORITHMS: Final = ("ppo", "a2c", "maskable-ppo")


@dataclass(frozen=True, slots=True)
class Preset:
    """`envs`: accounts that decide at once; a rollout is envs * n_steps decisions."""

    about: str
    origin: str
    envs: int
    hyper: Mapping[str, str | int | float | bool]


# What a preset leaves out. `net`: widths of hidden layers, of policy and of value alike.
_NETWORK: Final[Hyper] = {"net": "64,64", "activation": "tanh"}
_TRUST: Final[Hyper] = {"gae_lambda": 0.95, "clip_range": 0.2, "vf_coef": 0.5, "max_grad_norm": 0.5}

_PPO: Final[Mapping[str, Preset]] = {
    "kflow": Preset(
        about="many accounts, batches of 1,024: reaches 90 % of the optimum of the made-up worlds within 500,000 steps",
        origin="measured: bench/learning.py, docs/fair.md",
        envs=64,
        hyper={
            "n_steps": 128,
            "batch_size": 1024,
            "n_epochs": 6,
            "learning_rate": 1e-3,
            "gamma": 0.99,
            "ent_coef": 0.01,
        },
    ),
    "sb3": Preset(
        about="the library's own defaults, with eight accounts",
        origin="Stable-Baselines3 2.9, stable_baselines3/ppo/ppo.py",
        envs=8,
        hyper={
            "n_steps": 2048,
            "batch_size": 64,
            "n_epochs": 10,
            "learning_rate": 3e-4,
            "gamma": 0.99,
            "ent_coef": 0.0,
        },
    ),
    "older": Preset(
        about="rollouts of 4,096 and batches of 256: what the older system trained with",
        origin="measured in perf-notes part II: rollout 4096, batch 256, 10 epochs, 64x64 tanh",
        envs=64,
        hyper={"n_steps": 64, "batch_size": 256, "n_epochs": 10, "learning_rate": 3e-4, "gamma": 0.99, "ent_coef": 0.0},
    ),
}
_A2C: Final[Mapping[str, Preset]] = {
    "kflow": Preset(
        about="32 accounts, 16 decisions between updates: learns two of the made-up worlds within 600,000 steps",
        origin="measured: bench/learning.py, docs/fair.md; advantages are dollars here, so ent_coef is a price: with "
        "0.02 it stops trading before it knows what a position is worth",
        envs=32,
        hyper={
            "n_steps": 16,
            "learning_rate": 1e-3,
            "gamma": 0.99,
            "ent_coef": 0.1,
            "gae_lambda": 0.95,
            "vf_coef": 0.5,
            "max_grad_norm": 0.5,
        },
    ),
    "sb3": Preset(
        about="the library's own defaults, with eight accounts",
        origin="Stable-Baselines3 2.9, stable_baselines3/a2c/a2c.py",
        envs=8,
        hyper={
            "n_steps": 5,
            "learning_rate": 7e-4,
            "gamma": 0.99,
            "ent_coef": 0.0,
            "gae_lambda": 1.0,
            "vf_coef": 0.5,
            "max_grad_norm": 0.5,
        },
    ),
}
PRESETS: Final[Mapping[str, Mapping[str, Preset]]] = {"ppo": _PPO, "a2c": _A2C, "maskable-ppo": _PPO}


def preset_named(algorithm: str, name: str) -> Preset:
    """Raises UsageError for an algorithm or a preset that there is not."""
    if algorithm not in PRESETS:
        raise UsageError(f"there is no algorithm {algorithm}", hint=f"choose {', '.join(ALGORITHMS)}")
    presets = PRESETS[algorithm]
    if name not in presets:
        raise UsageError(f"{algorithm} has no preset {name}", hint=f"choose {', '.join(presets)}")
    return presets[name]


def hyper_of(algorithm: str, name: str, changes: Mapping[str, str] | None = None) -> Hyper:
    """A preset's hyper-parameters with `changes` as they are typed. Raises UsageError for one that there is not."""
    known: Hyper = {**_NETWORK, **({} if algorithm == "a2c" else _TRUST), **preset_named(algorithm, name).hyper}
    return changed(known, changes or {})


def changed(hyper: Hyper, changes: Mapping[str, str]) -> Hyper:
    """Hyper-parameters with some as they are typed. Raises UsageError for one that there is not."""
    known = dict(hyper)
    for key, text in changes.items():
        if key not in known:
            raise UsageError(f"there is no hyper-parameter {key} here", hint=f"choose {', '.join(sorted(known))}")
        kind = type(known[key])
        try:
            known[key] = kind(text)
        except ValueError:
            raise UsageError(f"{key} cannot be {text!r}", hint=f"a {kind.__name__}, for example {known[key]}") from None
    return known
