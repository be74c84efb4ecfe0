"""How long `kflow --help` takes beside `python -c "import typer"`, wall seconds of whole processes.

    python bench/startup.py [--quick]

The ratio is kflow's median over typer's; the bar is 3.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from _report import alternating, finish, options

KFLOW = Path(sysconfig.get_path("scripts")) / "kflow"


def seconds(command: Sequence[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def main() -> None:
    rounds = 15 if options("Start-up time of the command line.").quick else 60
    contestants = {
        "python": lambda: seconds([sys.executable, "-c", "pass"]),
        "import_typer": lambda: seconds([sys.executable, "-c", "import typer"]),
        "kflow_help": lambda: seconds([str(KFLOW), "--help"]),
        "kflow_config_show": lambda: seconds([str(KFLOW), "config", "show", "--format", "csv"]),
    }
    alternating(contestants, 1)  # the first run reads files from the disk
    figures = alternating(contestants, rounds)
    ratio = median(figures["kflow_help"]) / median(figures["import_typer"])
    finish("startup", figures, ratio, "typer", unit="s")


if __name__ == "__main__":
    main()
