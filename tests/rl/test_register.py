"""The environment's name is known wherever `kflow.rl` is imported, and knowing it loads nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("gymnasium")
NAME = "kflow/KalshiMarket-v0"


def fresh(code: str) -> str:
    """What a new interpreter prints; its warnings are errors."""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "code",
    [
        f"import gymnasium, kflow.rl; spec = gymnasium.spec('{NAME}')",
        f"import kflow.rl, gymnasium; spec = gymnasium.spec('{NAME}')",
    ],
    ids=["imported after", "imported before"],
)
def test_the_environment_is_found_by_name(code: str) -> None:
    told = fresh(f"{code}; print(spec.id, spec.entry_point, spec.vector_entry_point)")
    assert told == f"{NAME} kflow.rl.env:KalshiMarketEnv kflow.rl.vector:KalshiMarketVectorEnv"


def test_knowing_it_loads_nothing_beyond_gymnasium() -> None:
    code = (
        "import sys, gymnasium\nbefore = set(sys.modules)\nimport kflow.rl\n"
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names))"
    )
    assert fresh(code) == "kflow"


def test_the_package_serves_without_gymnasium() -> None:
    code = (
        "import sys\nsys.modules['gymnasium'] = None\n"
        "import kflow.rl.columns\nprint('kflow.rl.register' in sys.modules)"
    )
    assert fresh(code) == "False"


def test_registering_again_changes_nothing_and_does_not_warn() -> None:
    code = (
        "import gymnasium, kflow.rl\nfrom kflow.rl.register import register\n"
        f"first = gymnasium.spec('{NAME}')\nregister()\nprint(gymnasium.spec('{NAME}') is first)"
    )
    assert fresh(code) == "True"
