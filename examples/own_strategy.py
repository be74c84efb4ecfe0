"""A strategy of one's own: the same class is judged on markets that are held out, and trades on live books.

    kflow evaluate examples.own_strategy:Reverter --world reverting --markets 5 --episode 1m --capacity 1
    kflow evaluate examples.own_strategy:Reverter --sessions 1-40            # on what was recorded
    kflow actor arm --yes
    kflow actor run --enable --strategy examples.own_strategy:Reverter --duration 20

Nothing else is needed: the world is made up, and without a key the actor starts a private exchange and trades on paper.
The first prints what it earned beside hand-written policies, and a verdict; the last how often it decided, and what it
sent.
`python examples/own_strategy.py` does the first and the last in a folder that it removes again.

What a strategy sees, feature by feature: docs/policy.md. It remembers nothing: one object decides for all markets.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kflow.policy.actions import action_set
from kflow.policy.features import FEATURES
from kflow.units import CONTRACT

SEEN = {feature.name: column for column, feature in enumerate(FEATURES)}
ENTERS, LEAVES = 0.05, 0.01  # of the feature return_60s, which counts in 20 cents: a cent, and a fifth


class Reverter:
    """Buys the side that fell in the last minute, and sells it when it has come back. 10 contracts at a time."""

    name = "reverter"
    actions = action_set("default", [10 * CONTRACT])

    def decide(self, observation: NDArray[np.float32], mask: NDArray[np.bool_]) -> int:
        moved, held = observation[SEEN["return_60s"]], observation[SEEN["position"]]
        if held > 0 and moved > -LEAVES:
            wish = "SELL_YES"
        elif held < 0 and moved < LEAVES:
            wish = "SELL_NO"
        elif abs(moved) > ENTERS:
            wish = "BUY_YES" if moved < 0 else "BUY_NO"
        else:
            wish = "HOLD"
        number = [action.name.partition(" ")[0] for action in self.actions.actions].index(wish)
        return number if mask[number] else 0


def main() -> None:
    kflow = Path(sysconfig.get_path("scripts")) / "kflow"
    me = f"{Path(__file__).stem}:Reverter"
    world = ["--world", "reverting", "--markets", "5", "--episode", "1m", "--capacity", "1", "--seeds", "2"]
    with tempfile.TemporaryDirectory() as folder:
        for words in (
            ["evaluate", me, *world, "--runs", f"{folder}/evaluations", "--no-register"],
            ["actor", "arm", "--yes"],
            ["actor", "run", "--enable", "--strategy", me, "--duration", "15"],
        ):
            print("$ kflow", *words, flush=True)
            environ = {**os.environ, "KFLOW_DATA_DIR": folder, "KFLOW__ACTOR__PORT": "0"}
            done = subprocess.run([kflow, *words], cwd=Path(__file__).parent, env=environ, check=False)
            if done.returncode:
                sys.exit(f"that command ended with {done.returncode}: see docs/exit-codes.md")


if __name__ == "__main__":
    main()
