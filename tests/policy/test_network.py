"""The network: the sums of its layers, for one row and for many; nothing is decided on what is no number."""

from __future__ import annotations

import json
import math
import operator
import subprocess
import sys

import numpy as np
import pytest

from kflow.policy.network import Layout, Network
from kflow.testing.models import untrained

LAYOUT = Layout(observation=7, actions=5, policy=(16, 9), value=(8,), activation="tanh")


def by_hand(network: Network, stack: str, row: list[float]) -> list[float]:
    """Sums of products in Python's own floats."""
    layers = len([name for name in network.arrays if name.startswith(stack)]) // 2
    for number in range(layers):
        weight, bias = network.arrays[f"{stack}.{number}.weight"], network.arrays[f"{stack}.{number}.bias"]
        row = [math.fsum([*map(operator.mul, line, row), b]) for line, b in zip(weight.tolist(), bias, strict=True)]
        if number < layers - 1:
            row = [math.tanh(x) if network.layout.activation == "tanh" else max(x, 0.0) for x in row]
    return row


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize(("policy", "value"), [((16, 9), (8,)), ((), (4, 4, 4)), ((64, 64), (64, 64))])
def test_logits_and_values_are_the_sums_of_the_layers(
    activation: str, policy: tuple[int, ...], value: tuple[int, ...]
) -> None:
    network = untrained(Layout(observation=7, actions=5, policy=policy, value=value, activation=activation))
    observations = np.random.default_rng(1).normal(size=(40, 7)).astype(np.float32)
    batch, values = network.logits(observations), network.values(observations)
    assert (batch.shape, values.shape, batch.dtype) == ((40, 5), (40,), np.float32)
    for row, logits, worth in zip(observations, batch, values, strict=True):
        expected = by_hand(network, "policy", row.tolist())
        assert network.logits(row) == pytest.approx(expected, abs=1e-5)
        assert logits == pytest.approx(expected, abs=1e-5)
        assert worth == pytest.approx(by_hand(network, "value", row.tolist())[0], abs=1e-5)
        assert network.values(row) == pytest.approx(float(worth), abs=1e-5)


def test_a_batch_decides_as_each_row_does_and_lists_as_arrays_do() -> None:
    network = untrained(Layout(observation=60, actions=21), seed=3)
    rng = np.random.default_rng(2)
    observations = rng.normal(size=(10_000, 60)).astype(np.float32)
    masks = rng.random((10_000, 21)) < 0.4
    masks[:, 0] = True
    bare, masked = network.act_batch(observations), network.act_batch(observations, masks)
    assert [network.act(row) for row in observations] == bare.tolist()
    assert [network.act(row, mask) for row, mask in zip(observations, masks, strict=True)] == masked.tolist()
    assert network.act(observations[0].tolist(), masks[0].tolist()) == masked[0]
    assert masks[np.arange(10_000), masked].all()
    assert len(set(bare.tolist())) > 10


def test_of_equal_logits_the_first_is_taken() -> None:
    zeros = Network(LAYOUT, {name: np.zeros(shape, np.float32) for name, shape in LAYOUT.shapes().items()})
    assert zeros.act([0.0] * 7) == 0
    assert zeros.act([0.0] * 7, [False, False, True, True, False]) == 2


@pytest.mark.parametrize("activation", ["tanh", "relu"])  # either makes a finite number of some infinities
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_nothing_is_decided_on_what_is_no_number(activation: str, bad: float) -> None:
    network = untrained(Layout(observation=7, actions=5, activation=activation))
    row = np.zeros(7, np.float32)
    row[3] = bad
    with pytest.raises(ValueError, match="not finite"):
        network.act(row)
    with pytest.raises(ValueError, match="not finite"):
        network.act_batch(row[None])


def test_nothing_is_decided_where_nothing_is_allowed() -> None:
    network = untrained(LAYOUT)
    with pytest.raises(ValueError, match="no action is allowed"):
        network.act(np.zeros(7), [False] * 5)
    with pytest.raises(ValueError, match="no action is allowed"):
        network.act_batch(np.zeros((2, 7)), np.array([[True] * 5, [False] * 5]))


def test_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="not aligned"):
        untrained(LAYOUT).act([0.0] * 6)


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("policy.0.weight", np.zeros((16, 8), np.float32), "shape"),
        ("policy.0.bias", np.zeros(16), "float64"),
        ("value.1.bias", np.full(1, np.nan, np.float32), "not finite"),
        ("value.2.bias", np.zeros(1, np.float32), "not of the layout"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(name: str, array: np.ndarray, words: str) -> None:
    arrays = {n: np.zeros(s, np.float32) for n, s in LAYOUT.shapes().items()} | {name: array}
    with pytest.raises(ValueError, match=words):
        Network(LAYOUT, arrays)


def test_weights_cannot_change_under_a_running_policy() -> None:
    own = {name: np.zeros(shape, np.float32) for name, shape in LAYOUT.shapes().items()}
    network = Network(LAYOUT, own)
    own["policy.0.bias"][0] = 1
    assert network.arrays["policy.0.bias"][0] == 0
    with pytest.raises(ValueError, match="read-only"):
        network.arrays["policy.0.bias"][0] = 1


def test_a_layout_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="neither tanh nor relu"):
        Layout(observation=1, actions=1, activation="gelu")
    with pytest.raises(ValueError, match="at least one unit"):
        Layout(observation=1, actions=1, policy=(4, 0))


def test_only_numpy_is_imported() -> None:
    code = (
        "import json, sys, numpy; before = set(sys.modules)\n"
        "import kflow.policy.network\n"
        "print(json.dumps(sorted({n.partition('.')[0] for n in set(sys.modules) - before} - sys.stdlib_module_names)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(json.loads(done.stdout)) <= {"kflow", "numpy"}
