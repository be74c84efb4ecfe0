"""How long `kflow --help` takes beside `python -c "import typer"`: whole processes, in alternation.

    python bench/startup.py [--quick]

The ratio is kflow's median time over typer's; the bar is 3.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

from measure import alternate, arguments, repeats, report

KFLOW = str(Path(sysconfig.get_path("scripts")) / "kflow")


def process(*command: str) -> Callable[[], int]:
    def run() -> int:
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        return 1

    return run


def main() -> None:
    options = arguments("Start-up time of the command line.", full=60, quick=15).parse_args()
    cases = {
        "python": process(sys.executable, "-c", "pass"),
        "import typer": process(sys.executable, "-c", "import typer"),
        "kflow --help": process(KFLOW, "--help"),
        "kflow config show": process(KFLOW, "config", "show", "--format", "csv"),
    }
    medians = alternate(cases, repeats(options))
    ratio = medians["kflow --help"].wall_s / medians["import typer"].wall_s
    cpu_ratio = medians["import typer"].per_cpu_s / medians["kflow --help"].per_cpu_s
    report("startup", medians, ratio, packages=("typer",), cpu_ratio=cpu_ratio)


if __name__ == "__main__":
    main()
