"""A real browser opens the page, obeys its policy, and has nothing to complain of."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from kflow.evaluate import report
from kflow.testing import documents

pytestmark = pytest.mark.slow

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def opened(page: Path) -> subprocess.CompletedProcess[str]:
    if CHROMIUM is None:
        pytest.skip("no Chromium here")
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    flags = [
        "--headless",
        *sandbox,
        "--disable-gpu",
        "--enable-logging=stderr",
        f"--user-data-dir={page.parent}/profile",
    ]
    return subprocess.run(
        [CHROMIUM, *flags, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )


def test_the_browser_obeys_and_does_not_complain(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(report.html(documents.document(hostile=True, settled=True, judged=("a", "b"))), encoding="utf-8")
    done = opened(page)
    assert "Refused" not in done.stderr
    assert "CONSOLE" not in done.stderr
    assert done.stdout.count("<section") == 16
    # The same page with a script and a style of someone else: the policy stops both.
    page.write_text(
        page.read_text(encoding="utf-8").replace(
            "</main>", '<p id="x" style="color: red">x</p><script>document.title = "owned"</script></main>'
        ),
        encoding="utf-8",
    )
    spoilt = opened(page)
    assert spoilt.stderr.count("Content Security Policy") >= 2
    assert "<title>owned" not in spoilt.stdout
