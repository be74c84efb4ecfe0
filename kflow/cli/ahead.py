"""Compile ahead of need: python -m kflow.cli.ahead simulate, or train.

What is compiled is kept on disk, so that the command which needs it later begins at once. Compiling takes half a minute
of one core each; where it was done before, it takes a second.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from kflow.replay.tapes import fees_of
from kflow.rl.worlds import make_tapes
from kflow.sim import cache
from kflow.sim.fills import Assumptions
from kflow.sim.tape import Tape
from kflow.units import CONTRACT, Size


def simulating() -> None:
    """What `kflow simulate` runs. A tape that was kept is mapped and cannot be written, which numba compiles apart."""
    from kflow.sim.study import Plan, study

    with tempfile.TemporaryDirectory(prefix="kflow-ahead-") as folder:
        kept = cache.save(_tape(), Path(folder), "tape")
        study([kept], Plan(size=Size(10 * CONTRACT), horizon_us=1_000_000), _assume)


def training() -> None:
    """What `kflow train` and `kflow evaluate` run."""
    from kflow.rl.batch import Batch, Setup
    from kflow.rl.dataset import build
    from kflow.rl.episodes import Drawn

    data = build([_tape()], _assume)
    batch = Batch(data, Setup(), Drawn(data, 40), 2)
    batch.reset()
    batch.step([1, 0])
    batch.masks()


JOBS: Final[Mapping[str, Callable[[], None]]] = {"simulate": simulating, "train": training}


def _tape() -> Tape:
    return make_tapes("fair", 1, seed=1, seconds=20)[0]


def _assume(tape: Tape) -> Assumptions:
    return Assumptions(fees=fees_of(tape)[0])


if __name__ == "__main__":
    for job in sys.argv[1:] or JOBS:
        JOBS[job]()
