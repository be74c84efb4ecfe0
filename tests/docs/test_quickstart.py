"""docs/quickstart.md does what it says: its blocks run as they stand, one after another, from an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "quickstart.md"
_BLOCK = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_a_stranger_gets_through_it(tmp_path: Path) -> None:
    tmp_path.chmod(0o711)
    programs = Path(sys.executable).parent
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "NUMBA_CACHE_DIR") if name in os.environ}
    own = {"XDG_DATA_HOME": str(tmp_path / "data"), "KFLOW__WEB__PORT": "0", "PATH": f"{programs}:/usr/bin:/bin"}
    folder = tmp_path / "empty"
    folder.mkdir()
    script = "".join(_BLOCK.findall(PAGE.read_text(encoding="utf-8")))
    assert script.startswith("kflow demo\n")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder, env={**kept, **own}, capture_output=True, text=True, check=False, timeout=1200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for step in ("record", "verify", "simulate", "train", "evaluate", "paper", "report"):
        assert f" {step} " in done.stdout.replace("(", " ").splitlines()[0]
    assert list((folder / "exports").rglob("*.parquet"))
