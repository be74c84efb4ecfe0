"""Where they overlap, figures of evaluation are those of empyrical-reloaded 0.7.1 and SciPy, to 1e-9."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray

from kflow.evaluate import inference, metrics

from .conftest import RunSession

CAPITAL: Final = 1_000.0
_RNG: Final = np.random.default_rng(20)
# Coins, small gains with rare losses, wild ones, and as few as may have an interval.
PROFITS: Final = (
    _RNG.normal(0.3, 2.0, 30),
    np.where(_RNG.random(100) < 0.95, 0.05, -0.95),
    _RNG.standard_t(3, 301) - 0.1,
    _RNG.choice([-1.0, 0.0, 2.5], 77),
    _RNG.normal(0.0, 1.0, 5),
)


def exactly(value: float) -> Any:
    return pytest.approx(value, rel=1e-9, abs=1e-9)


def test_empyrical_reloaded(run_session: RunSession, tmp_path: Path) -> None:
    asked = tmp_path / "profits.json"
    asked.write_text(json.dumps({"capital": CAPITAL, "profits": [values.tolist() for values in PROFITS]}))
    seen = run_session("empyrical-reloaded", asked)
    assert seen["version"] == "0.7.1"
    for values, told in zip(PROFITS, seen["figures"], strict=True):
        metrics_are_those_of_empyrical(values, told)
        curves_are_those_of_scipy(values, told)


def metrics_are_those_of_empyrical(values: NDArray[np.float64], told: dict[str, Any]) -> None:
    assert metrics.mean_over_spread(values) == exactly(told["sharpe"])
    assert metrics.downside(values) == exactly(told["downside"])
    if len(values) >= inference.ENOUGH:
        assert metrics.sharpe(values).value == exactly(told["sharpe"])
        assert metrics.sortino(values).value == exactly(told["sortino"])
    # Theirs is a share of the peak so far, of which the start is one.
    equity = np.cumsum(values)
    peak = CAPITAL + np.maximum(np.maximum.accumulate(equity), 0.0)
    assert metrics.drawdowns(equity) / peak == exactly(np.array(told["drawdowns"]))


def curves_are_those_of_scipy(values: NDArray[np.float64], told: dict[str, Any]) -> None:
    count = len(values)
    error = values.std(ddof=1) / np.sqrt(count)
    assert inference.student_tail(values.mean() / error, count - 1) == exactly(told["t_p"])
    reach = inference.student_quantile(0.025, count - 1) * error
    assert [values.mean() - reach, values.mean() + reach] == exactly(told["t_interval"])
    assert inference.moments(values) == exactly((told["skewness"], told["kurtosis"]))
    _, low = inference.unseen_loss(np.full(count, 0.05), 0.95)
    assert low == exactly((1 - told["never"]) * 0.05 - told["never"] * 0.95)
    # Theirs is exact for few values, ours nearly.
    assert inference.uniform(values - np.floor(values)) == pytest.approx(told["uniform_exact"], abs=0.02)
