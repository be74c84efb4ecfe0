"""Where training stands, on disk: weights and optimiser, accounts, random numbers. To go on from one gives the bytes
that training would have come to without a stop. Nothing in it is unpickled but tensors.
"""

from __future__ import annotations

import json
import re
import shutil
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from kflow.errors import DataError
from kflow.policy.bundle import archive
from kflow.policy.network import Layout, Network
from kflow.rl import runs
from kflow.rl.batch import Batch

FOLDER: Final = "checkpoints"
_KEEP: Final = 3
_STEP: Final = re.compile(r"step_(\d{12})")


def save(folder: Path, model: Any, batch: Batch, rest: Mapping[str, Any]) -> Path:
    """Keep where training stands, between two rollouts; older ones but the last few go. `rest`: plain JSON."""
    root = folder / FOLDER
    root.mkdir(exist_ok=True)
    place = root / f"step_{model.num_timesteps:012d}"
    draft = root / f".{place.name}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    arrays, accounts = batch.kept()
    _, key, position, has_gauss, gauss = np.random.get_state(legacy=True)
    arrays = {f"batch.{name}": array for name, array in arrays.items()}
    arrays |= {"numpy.key": np.asarray(key), "last_obs": model._last_obs, "starts": model._last_episode_starts}  # noqa: SLF001
    with (draft / "arrays.npz").open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    tensors = {
        "policy": model.policy.state_dict(),
        "optimizer": model.policy.optimizer.state_dict(),
        "torch_rng": torch.get_rng_state(),
    }
    torch.save(tensors, draft / "tensors.pth")
    state = {
        "step": model.num_timesteps,
        "updates": model._n_updates,  # noqa: SLF001
        "numpy": [int(position), int(has_gauss), float(gauss)],
        "accounts": accounts,
        "episodes": [{"r": info["r"], "l": info["l"], "t": info["t"]} for info in model.ep_info_buffer or ()],
        **rest,
    }
    runs.write(draft / "state.json", json.dumps(state).encode())
    shutil.rmtree(place, ignore_errors=True)
    draft.rename(place)
    for old in sorted(root.glob("step_*"))[:-_KEEP]:
        shutil.rmtree(old, ignore_errors=True)
    return place


def newest(folder: Path) -> Path | None:
    """The last one that is whole."""
    found = [path for path in (folder / FOLDER).glob("step_*") if _STEP.fullmatch(path.name)]
    return max(found, default=None)


def restore(place: Path, model: Any, batch: Batch) -> dict[str, Any]:
    """Put a model and its batch where they stood; gives `rest` back. Raises DataError for one of another kind."""
    try:
        state: dict[str, Any] = json.loads((place / "state.json").read_text())
        tensors = torch.load(place / "tensors.pth", map_location=model.device, weights_only=True)
        with np.load(place / "arrays.npz", allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        model.policy.load_state_dict(tensors["policy"])
        model.policy.optimizer.load_state_dict(tensors["optimizer"])
        batch.restore(
            {name.removeprefix("batch."): array for name, array in arrays.items() if name.startswith("batch.")},
            state["accounts"],
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise DataError(
            f"{place} is no checkpoint of this run: {error}", hint="remove it: training goes on from the one before"
        ) from None
    torch.set_rng_state(tensors["torch_rng"])
    position, has_gauss, gauss = state["numpy"]
    np.random.set_state(("MT19937", arrays["numpy.key"], position, has_gauss, gauss))
    model.num_timesteps = state["step"]
    model._n_updates = state["updates"]  # noqa: SLF001
    model._last_obs = batch.observations  # noqa: SLF001
    model._last_episode_starts = arrays["starts"]  # noqa: SLF001
    model.ep_info_buffer, model.ep_success_buffer = deque(state["episodes"], maxlen=100), deque(maxlen=100)
    return state


def save_best(folder: Path, network: Network) -> None:
    """Keep the weights that did best on what is held out: best.npz, arrays as `kflow.policy.network` names them."""
    runs.write(folder / "best.npz", archive(network))


def read_best(folder: Path, layout: Layout) -> Network | None:
    """None where none was kept."""
    try:
        with np.load(folder / "best.npz", allow_pickle=False) as file:
            return Network(layout, {name: file[name] for name in file.files})
    except OSError:
        return None
