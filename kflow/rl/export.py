"""What Stable-Baselines3 trained, as a network that needs no library to decide: of a running model, or of its .zip.

Of the .zip only plain text and tensors are read, those by torch's loader that makes nothing but tensors. So an archive
from elsewhere cannot run anything here, as it could where Stable-Baselines3 itself loads it.
"""

from __future__ import annotations

import io
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import msgspec
import numpy as np

from kflow.errors import ConfigError, ModelError
from kflow.policy import bundle
from kflow.policy.bundle import Bundle, Facts
from kflow.policy.network import Floats, Layout, Network

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

_ACTIVATIONS: Final = {
    "<class 'torch.nn.modules.activation.Tanh'>": "tanh",
    "<class 'torch.nn.modules.activation.ReLU'>": "relu",
}
_FLATTEN: Final = "<class 'stable_baselines3.common.torch_layers.FlattenExtractor'>"
# Where MlpPolicy of PPO and A2C, and that of MaskablePPO, are from; of their subclasses nothing is known.
_POLICIES: Final = ("stable_baselines3.common.policies", "sb3_contrib.common.maskable.policies")
_STACKS: Final = (
    ("policy", "mlp_extractor.policy_net", "action_net"),
    ("value", "mlp_extractor.value_net", "value_net"),
)
_TEXT_BYTES: Final = 64_000_000
_TENSOR_BYTES: Final = bundle.WEIGHTS * 4 + 1_000_000


def network_of(model: BaseAlgorithm) -> Network:
    """The network of a PPO, A2C or MaskablePPO with MlpPolicy and discrete actions. Raises ModelError for others."""
    policy: Any = model.policy
    kind, extractor = type(policy), type(getattr(policy, "features_extractor", None))
    if kind.__module__ not in _POLICIES or str(extractor) != _FLATTEN:
        raise ModelError(f"a {kind.__name__} over {extractor.__name__} is no MlpPolicy", hint=_KINDS)
    state = {name: tensor.detach().cpu().numpy() for name, tensor in policy.state_dict().items()}
    return _network(state, _activation(str(policy.activation_fn)))


def from_zip(path: Path, facts: Facts, folder: Path) -> Bundle:
    """Make a bundle in `folder` of a .zip that Stable-Baselines3 saved.

    Raises ModelError for an archive that is none, or of another kind of policy, or that the facts do not fit;
    ConfigError where torch is not installed.
    """
    state, activation = _read(path)
    return bundle.save(folder, _network(state, activation), facts)


def _read(path: Path) -> tuple[dict[str, Floats], str]:
    """Tensors by name, and the activation."""
    try:
        with zipfile.ZipFile(path) as archive:
            text, tensors = _member(archive, "data", _TEXT_BYTES), _member(archive, "policy.pth", _TENSOR_BYTES)
        about = msgspec.json.decode(text, type=dict[str, Any])
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise ModelError(
            f"{path} is no model of Stable-Baselines3: {error}", hint="it is made by model.save()"
        ) from None
    return _tensors(tensors, path), _told_activation(about)


def _member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """A member, read no further than it may be long."""
    with archive.open(name) as file:
        found = file.read(most + 1)
    if len(found) > most:
        raise ValueError(f"{name} is larger than the {most:,} bytes it may have")
    return found


def _tensors(raw: bytes, path: Path) -> dict[str, Floats]:
    try:
        import torch
    except ImportError:
        raise ConfigError("its weights need torch, which is not installed", hint="pip install 'kflow[train]'") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what it refuses anyhow
            state = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
        return {name: tensor.numpy() for name, tensor in state.items()}
    except (RuntimeError, ValueError, TypeError, AttributeError, KeyError, EOFError, pickle.UnpicklingError) as error:
        why = str(error).strip().partition("\n")[0]
        raise ModelError(f"{path} holds other things than tensors as weights: {why}", hint=_KINDS) from None


def _told_activation(about: Mapping[str, Any]) -> str:
    """What the archive says of its policy in words, beside the pickle that Stable-Baselines3 would load."""
    kind, space, options = (about.get(name) or {} for name in ("policy_class", "action_space", "policy_kwargs"))
    if not all(isinstance(told, dict) for told in (kind, space, options)) or kind.get("__module__") not in _POLICIES:
        _refuse("its policy is not MlpPolicy")
    if space.get(":type:") != "<class 'gymnasium.spaces.discrete.Discrete'>":
        _refuse("its actions are not discrete")
    if options.get("features_extractor_class", _FLATTEN) != _FLATTEN:
        _refuse("its observations go through an extractor")
    return _activation(str(options.get("activation_fn", "<class 'torch.nn.modules.activation.Tanh'>")))


def _activation(told: str) -> str:
    if told not in _ACTIVATIONS:
        _refuse(f"its activation is {told}")
    return _ACTIVATIONS[told]


def _network(state: Mapping[str, Floats], activation: str) -> Network:
    """Stable-Baselines3's names of arrays to ours."""
    left, arrays, hidden = dict(state), dict[str, Floats](), dict[str, tuple[int, ...]]()
    try:
        for stack, body, head in _STACKS:
            widths: list[int] = []
            while f"{body}.{2 * len(widths)}.weight" in left:  # every other module is an activation
                number = len(widths)
                for part in ("weight", "bias"):
                    arrays[f"{stack}.{number}.{part}"] = left.pop(f"{body}.{2 * number}.{part}")
                widths.append(len(arrays[f"{stack}.{number}.bias"]))
            for part in ("weight", "bias"):
                arrays[f"{stack}.{len(widths)}.{part}"] = left.pop(f"{head}.{part}")
            hidden[stack] = tuple(widths)
        layout = Layout(
            observation=arrays["policy.0.weight"].shape[1],
            actions=len(arrays[f"policy.{len(hidden['policy'])}.bias"]),
            **hidden,
            activation=activation,
        )
        if left:
            _refuse(f"it has {', '.join(sorted(left))}")
        return Network(layout, {name: np.ascontiguousarray(array) for name, array in arrays.items()})
    except (KeyError, IndexError, TypeError, ValueError) as error:
        _refuse(f"its weights are not those of one: {error}")


_KINDS: Final = "PPO, A2C and MaskablePPO with MlpPolicy, tanh or relu, and discrete actions can be exported"


def _refuse(why: str) -> NoReturn:
    raise ModelError(f"this is no policy that kflow can run: {why}", hint=_KINDS)
