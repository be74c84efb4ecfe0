"""The how-to pages do what they say: their blocks run as they stand, one after another, from an empty folder.

`bash` and `python` blocks need nothing but kflow and are run; `sh` blocks need something of the reader's (a key, a
server, time), and are only parsed (test_pages.py).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HOWTO = Path(__file__).resolve().parents[2] / "docs" / "how-to"
PAGES = sorted(page.stem for page in HOWTO.glob("*.md"))
_BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> list[tuple[str, str]]:
    return [(match[1], match[2]) for match in _BLOCK.finditer((HOWTO / f"{page}.md").read_text(encoding="utf-8"))]


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)])
def test_a_page_does_what_it_says(page: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o711)
    programs = Path(sys.executable).parent
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "NUMBA_CACHE_DIR") if name in os.environ}
    # Ports and data of their own, so that nothing of this machine is met.
    own = {"KFLOW_DATA_DIR": str(tmp_path / "data"), "KFLOW__WEB__PORT": "0", "KFLOW__ACTOR__PORT": "0"}
    environ = {**kept, **own, "PATH": f"{programs}:/usr/bin:/bin", "NO_COLOR": "1"}
    folder = tmp_path / "empty"
    folder.mkdir()
    for language, text in blocks(page):
        command = ["bash", "-euo", "pipefail", "-c", text] if language == "bash" else [sys.executable, "-c", text]
        done = subprocess.run(
            command, cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=600
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES)
def test_what_needs_something_of_the_reader_s_is_no_block_that_is_run(page: str) -> None:
    for _, text in blocks(page):
        assert not re.search(r"--env (demo|production)|DATABASE_URL|KALSHI_|kalshi\.co", text), text
