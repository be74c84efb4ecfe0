"""What empyrical-reloaded and SciPy make of profits: a file of JSON in, a line of JSON out."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import empyrical
import numpy as np
from scipy import stats


def figures(profits: list[float], capital: float) -> dict[str, Any]:
    values = np.array(profits)
    # The same dollars as returns: each on what there was before.
    before = capital + np.concatenate([[0.0], np.cumsum(values)[:-1]])
    returns = values / before
    return {
        "sharpe": empyrical.sharpe_ratio(values, annualization=1),
        "sortino": empyrical.sortino_ratio(values, annualization=1),
        "downside": empyrical.downside_risk(values, annualization=1),
        "drawdowns": list(empyrical.stats.drawdown_series(returns)),
        "t_p": stats.ttest_1samp(values, 0.0, alternative="greater").pvalue,
        "t_interval": list(stats.ttest_1samp(values, 0.0).confidence_interval(0.95)),
        "skewness": stats.skew(values),
        "kurtosis": stats.kurtosis(values, fisher=False),
        "never": stats.binomtest(0, len(values)).proportion_ci(0.95, "exact").high,
        "uniform_exact": stats.kstest(values - np.floor(values), "uniform").pvalue,
    }


def main() -> None:
    asked = json.loads(Path(sys.argv[1]).read_text())
    found = [figures(profits, asked["capital"]) for profits in asked["profits"]]
    print(json.dumps({"version": version("empyrical-reloaded"), "figures": found}))


if __name__ == "__main__":
    main()
