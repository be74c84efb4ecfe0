"""Bundles: what was saved is what is loaded, and whatever else is refused with exit code 9, nothing of it executed."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from kflow.errors import ModelError, UsageError
from kflow.policy import bundle
from kflow.policy.bundle import Facts, Features
from kflow.testing.models import LAYOUT, facts, untrained

Arrays = dict[str, np.ndarray]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    bundle.save(tmp_path / "model", untrained(), facts())
    return tmp_path / "model"


def refused(path: Path, *words: str, **expected: str) -> str:
    with pytest.raises(ModelError) as caught:
        bundle.load(path, **expected)
    assert caught.value.exit_code == 9
    assert caught.value.hint
    for word in words:
        assert word in str(caught.value)
    return str(caught.value)


def replace_weights(folder: Path, archive: bytes) -> None:
    """Put other bytes in the place of the weights, and make the card name them: only their content speaks now."""
    (folder / "ppo-1.5.npz").write_bytes(archive)
    change_card(folder, weights_sha256=hashlib.sha256(archive).hexdigest())


def change_card(folder: Path, **changes: object) -> None:
    path = folder / "ppo-1.5.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def archive(arrays: Arrays, *, compressed: bool = False) -> bytes:
    out = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(out, **arrays)
    return out.getvalue()


@pytest.mark.parametrize("name", ["", "ppo-1.5.json", "ppo-1.5.npz"])
def test_what_was_saved_is_loaded(folder: Path, name: str) -> None:
    found = bundle.load(folder / name, schema="abc123")
    assert found.path == folder / "ppo-1.5.json"
    assert {name: getattr(found.card, name) for name in Facts.__struct_fields__} == msgspec.structs.asdict(facts())
    assert found.network.layout == LAYOUT
    assert found.network.arrays.keys() == untrained().arrays.keys()
    for name, array in untrained().arrays.items():
        assert np.array_equal(found.network.arrays[name], array)
    assert sorted(path.name for path in folder.iterdir()) == ["ppo-1.5.json", "ppo-1.5.npz"]


def test_the_same_weights_make_the_same_bytes(tmp_path: Path) -> None:
    first, again = (bundle.save(tmp_path / name, untrained(), facts()) for name in "ab")
    other = bundle.save(tmp_path / "c", untrained(seed=1), facts())
    assert first.card == again.card
    assert first.card.weights_sha256 != other.card.weights_sha256
    assert (tmp_path / "a/ppo-1.5.json").read_bytes() == (tmp_path / "b/ppo-1.5.json").read_bytes() == first.written


def test_a_model_is_never_written_over(folder: Path) -> None:
    with pytest.raises(UsageError, match="is there already"):
        bundle.save(folder, untrained(seed=1), facts())
    bundle.load(folder)


def test_a_copy_is_what_was_verified(folder: Path, tmp_path: Path) -> None:
    found = bundle.copy(folder, tmp_path / "out", schema="abc123")
    for name in ("ppo-1.5.json", "ppo-1.5.npz"):
        assert (tmp_path / "out" / name).read_bytes() == (folder / name).read_bytes()
    assert found.path == tmp_path / "out" / "ppo-1.5.json"
    (folder / "ppo-1.5.npz").write_bytes(b"")
    with pytest.raises(ModelError):
        bundle.copy(folder, tmp_path / "second")
    assert not (tmp_path / "second").exists()


def test_another_schema_is_refused_with_both_hashes(folder: Path) -> None:
    refused(folder, "abc123", "def456", schema="def456")


def test_other_weights_than_the_registry_knows_are_refused_with_both_hashes(folder: Path) -> None:
    found = bundle.load(folder).card.weights_sha256
    assert bundle.load(folder, sha256=found)
    refused(folder, found, "0" * 64, "the registry says", sha256="0" * 64)


@pytest.mark.parametrize("seed", range(3))
def test_every_flipped_bit_of_the_weights_is_seen(folder: Path, seed: int) -> None:
    whole = (folder / "ppo-1.5.npz").read_bytes()
    draw = random.Random(seed)
    for place in draw.sample(range(len(whole)), 50):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << draw.randrange(8)
        (folder / "ppo-1.5.npz").write_bytes(damaged)
        refused(folder, "damaged", hashlib.sha256(damaged).hexdigest(), hashlib.sha256(whole).hexdigest())


def test_damage_that_a_forged_card_hides_is_refused_or_is_a_network(folder: Path) -> None:
    """Behind the hash stands a reader that no archive surprises: it refuses, or gives finite numbers."""
    whole, draw, read = (folder / "ppo-1.5.npz").read_bytes(), random.Random(7), 0
    for _ in range(1500):
        damaged = bytearray(whole)
        for _ in range(draw.randint(1, 3)):
            damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        replace_weights(folder, bytes(damaged[: draw.choice([len(whole), draw.randrange(len(whole))])]))
        try:
            found = bundle.load(folder)
        except ModelError:
            continue
        read += 1
        assert all(np.isfinite(array).all() for array in found.network.arrays.values())
    assert read < 100  # a member's checksum sees what changes its numbers


@pytest.mark.parametrize("kept", [0, 1, 100, -1, -30])
def test_truncated_weights_are_refused(folder: Path, kept: int) -> None:
    whole = (folder / "ppo-1.5.npz").read_bytes()
    (folder / "ppo-1.5.npz").write_bytes(whole[:kept])
    refused(folder, "damaged")
    replace_weights(folder, whole[:kept])
    refused(folder, "does not hold the weights")


class Canary:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


def test_a_pickled_array_is_refused_and_not_unpickled(folder: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    objects = np.array([Canary(canary)], dtype=object)
    assert np.load(io.BytesIO(archive({"x": objects})), allow_pickle=True)["x"].shape == (1,)
    canary.rmdir()  # so it bites those who load it carelessly
    first, *_ = LAYOUT.shapes()
    for arrays in (dict(untrained().arrays) | {first: objects}, {"x": objects}):
        raw = archive(arrays)
        replace_weights(folder, raw)
        refused(folder, "does not hold the weights")
        assert not canary.exists()
    replace_weights(folder, pickle.dumps(Canary(canary)))
    refused(folder, "does not hold the weights")
    assert not canary.exists()


def without(arrays: Arrays) -> Arrays:
    return {name: array for name, array in arrays.items() if name != "value.0.bias"}


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a | {"extra": np.zeros(1, np.float32)},
        without,
        lambda a: dict(reversed(a.items())),
        lambda a: a | {"policy.0.bias": a["policy.0.bias"].astype(np.float64)},
        lambda a: a | {"policy.0.bias": a["policy.0.bias"].astype(">f4")},
        lambda a: a | {"policy.0.bias": a["policy.0.bias"].view(np.int32)},
        lambda a: a | {"policy.0.bias": a["policy.0.bias"][None]},
        lambda a: a | {"policy.0.weight": np.asfortranarray(a["policy.0.weight"])},
        lambda a: a | {"policy.0.weight": a["policy.0.weight"].T},
        lambda a: a | {"policy.0.bias": np.full(8, np.nan, np.float32)},
        lambda a: a | {"policy.0.bias": np.full(8, np.inf, np.float32)},
    ],
)
def test_arrays_of_another_kind_are_refused(folder: Path, change: Callable[[Arrays], Arrays]) -> None:
    replace_weights(folder, archive(change(dict(untrained().arrays))))
    refused(folder, "does not hold the weights")


def test_what_would_unpack_to_more_than_it_is_is_refused(folder: Path) -> None:
    replace_weights(folder, archive(dict(untrained().arrays), compressed=True))
    refused(folder, "compressed")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name in LAYOUT.shapes():
            file.writestr(f"{name}.npy", bytes(50_000_000))
    replace_weights(folder, out.getvalue())
    refused(folder, "compressed")


def test_files_that_are_too_large_are_not_read(folder: Path) -> None:
    with (folder / "ppo-1.5.npz").open("r+b") as file:
        file.truncate(10**12)
    refused(folder, "larger than")
    with (folder / "ppo-1.5.json").open("r+b") as file:
        file.truncate(10**12)
    refused(folder, "larger than")


def test_what_is_no_file_of_a_model_is_refused(folder: Path, tmp_path: Path) -> None:
    refused(tmp_path / "none", "neither a folder nor")
    refused(tmp_path / "none.json", "cannot be read")
    refused(tmp_path, "holds no models")
    (folder / "ppo-1.5.npz").unlink()
    os.mkfifo(folder / "ppo-1.5.npz")  # opening one for reading would wait for a writer
    refused(folder / "ppo-1.5.npz", "not a regular file")
    bundle.save(folder, untrained(), facts(name="a"))
    bundle.save(folder, untrained(), facts(name="b"))
    refused(folder, "holds 3 models")


def test_an_archive_of_stable_baselines_is_refused_naming_the_way(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        bundle.load(tmp_path / "model.zip")
    assert "kflow models export" in caught.value.hint


NETWORK = {"observation": 3, "actions": 21, "policy": [8, 8], "value": [8], "activation": "relu"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"more": 1}, "unknown field `more`"),
        ({"network": NETWORK | {"dropout": 0.5}}, "unknown field `dropout`"),
        ({"schema_version": 3}, "schema version 3, this kflow knows 2"),
        ({"schema_version": "1"}, "is no card"),
        ({"network": NETWORK | {"activation": "gelu"}}, "gelu"),
        ({"network": NETWORK | {"policy": [8, 9]}}, "does not hold the weights"),
        ({"network": NETWORK | {"policy": [10_000_000, 10_000_000]}}, "more than"),
        ({"network": NETWORK | {"observation": 0}}, "is no card"),
        ({"network": NETWORK | {"actions": 20}}, "21 actions"),
        ({"features": {"schema": "abc123", "names": ["mid"]}}, "1 features"),
        ({"actions": {"name": "default", "sizes_e2": [500]}}, "5 actions"),
        ({"actions": {"name": "mine", "sizes_e2": [500]}}, "no known actions"),
        ({"actions": {"name": "default", "sizes_e2": [-1]}}, "no known actions"),
        ({"name": "../ppo"}, "is no card"),
        ({"created": "2026-01-02T00:00:00"}, "is no card"),
        ({"weights_sha256": ""}, "is no card"),
        ({"decision_interval_us": 0}, "is no card"),
    ],
)
def test_cards_that_do_not_fit_are_refused(folder: Path, changes: dict[str, object], words: str) -> None:
    change_card(folder, **changes)
    refused(folder, words)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe", b"null", b'{"a":' + b"[" * 100_000])
def test_a_card_that_is_none_is_refused(folder: Path, text: bytes) -> None:
    (folder / "ppo-1.5.json").write_bytes(text)
    refused(folder, "is no card")


def test_a_model_that_could_not_be_loaded_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        bundle.save(tmp_path / "model", untrained(), facts(features=Features(schema="s", names=("one",))))
    assert not (tmp_path / "model").exists()


def test_facts_are_read_of_a_card_and_of_facts_alone(folder: Path, tmp_path: Path) -> None:
    assert bundle.facts_of(folder / "ppo-1.5.json") == facts()
    (tmp_path / "facts.json").write_bytes(msgspec.json.encode(facts()))
    assert bundle.facts_of(tmp_path / "facts.json") == facts()
    (tmp_path / "facts.json").write_text('{"name": "x"}')
    with pytest.raises(ModelError, match="missing required field"):
        bundle.facts_of(tmp_path / "facts.json")


def test_metrics_that_are_no_numbers_are_unknown(tmp_path: Path) -> None:
    saved = bundle.save(tmp_path, untrained(), facts(metrics={"sharpe": float("nan")}))
    assert saved.card.metrics == {"sharpe": None}


def test_loading_unpickles_nothing_and_needs_no_trainer(folder: Path) -> None:
    code = (
        "import sys, pathlib\n"
        "seen = []\n"
        "sys.addaudithook(lambda event, _: seen.append(event))\n"
        "from kflow.policy import bundle\n"
        f"path = pathlib.Path({str(folder)!r})\n"
        "bundle.load(path, schema='abc123')\n"
        "print([e for e in seen if e.startswith('pickle.')])\n"
        "seen.clear()\n"  # the first time modules were loaded; from here on nothing is to be executed
        "bundle.load(path / 'ppo-1.5.json', schema='abc123').network.act([0.0, 1.0, 2.0])\n"
        "print(sorted(set(seen) - {'object.__getattr__'}))\n"
        "print([n for n in ('torch', 'stable_baselines3', 'gymnasium', 'numba') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["[]", "['open']", "[]"], done
