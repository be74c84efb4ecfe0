"""The examples run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_main_job_runs_from_end_to_end(tmp_path: Path) -> None:
    command = [
        sys.executable,
        ROOT / "examples" / "record_and_replay.py",
        "--seconds",
        "3",
        "--keep",
        tmp_path / "kept",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "equal: True" in done.stdout
    assert list((tmp_path / "kept" / "export").rglob("*.csv"))
    journal, tables = (
        line.split()[1] for line in done.stdout.splitlines() if line.startswith(("   journal ", "   tables "))
    )
    assert journal == tables
    assert len(journal) == 64


def test_a_bot_of_its_own_trades_on_the_local_exchange() -> None:
    command = [sys.executable, ROOT / "examples" / "trade_locally.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "bought 10.00 at 0." in done.stdout
    assert "fill: bid 10.00 at 0." in done.stdout
    assert "fees so far 0." in done.stdout
