"""The dashboard's files: nothing from outside, nothing inline, no text that becomes markup; and its pure parts."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from kflow.web.files import INDEX, Files

PAGE = Path(__file__).parents[2] / "kflow" / "web" / "page"
VENDOR = PAGE / "vendor"
OWN = sorted(path for path in PAGE.iterdir() if path.is_file())
SCRIPTS = [path for path in OWN if path.suffix == ".js"]
NODE = shutil.which("node")


def test_what_is_vendored_is_what_was_published() -> None:
    told = dict(
        reversed(line.split()) for line in (VENDOR / "uplot" / "ORIGIN").read_text().splitlines() if line[64:66] == "  "
    )
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (VENDOR / "uplot").iterdir()
        if path.name != "ORIGIN"
    }
    assert found == told
    assert "MIT License" in (VENDOR / "uplot" / "LICENSE").read_text()


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_no_file_names_an_address_outside(path: Path) -> None:
    assert not re.search(r"(https?|wss?):?//|[\"'(]//\w", path.read_text())


def test_the_vendored_script_only_signs_with_its_address() -> None:
    script = (VENDOR / "uplot" / "uPlot.iife.min.js").read_text()
    assert re.findall(r"https?://[^\s)\"']+", script) == ["https://github.com/leeoniya/uPlot"]
    assert not re.search(r"\bfetch\(|XMLHttpRequest|\beval\(|new Function", script)


def test_the_document_has_no_script_or_style_of_its_own() -> None:
    document = (PAGE / INDEX).read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:", document)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_text_from_the_wire_is_never_markup_and_never_code(path: Path) -> None:
    script = path.read_text()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|Parser", script)


def test_the_token_is_kept_in_memory_only() -> None:
    storing = r"localStorage|sessionStorage|indexedDB|cookie"
    keeping = {path.name for path in SCRIPTS if re.search(storing, path.read_text())}
    assert keeping == {"settings.js"}
    assert "token" not in (PAGE / "settings.js").read_text()


def test_every_file_the_page_asks_for_is_served() -> None:
    names = set(Files().names)
    document = (PAGE / INDEX).read_text()
    asked = set(re.findall(r"(?:src|href)=\"page/([^\"]+)\"", document))
    for path in SCRIPTS:
        asked |= {name.removeprefix("./") for name in re.findall(r"from '([^']+)'", path.read_text())}
    assert asked <= names
    assert {"vendor/uplot/LICENSE", "vendor/uplot/ORIGIN"} <= names
    # And nothing is served that the page does not need.
    assert {path.name for path in OWN} - {INDEX} <= asked


def test_every_element_that_a_script_names_is_there() -> None:
    ids = re.findall(r"\bid=\"([\w-]+)\"", (PAGE / INDEX).read_text())
    assert len(ids) == len(set(ids))
    named = {name for path in SCRIPTS for name in re.findall(r"\$\('([\w-]+)'\)", path.read_text())}
    assert named <= set(ids)


def test_the_page_is_small() -> None:
    assert sum(path.stat().st_size for path in PAGE.rglob("*") if path.is_file()) < 160_000
    assert all(len(path.read_text().splitlines()) <= 400 for path in OWN)


@pytest.mark.skipif(NODE is None, reason="needs node")
def test_its_pure_parts_do_what_they_say(tmp_path: Path) -> None:
    """tests/web/page.test.mjs: books, prices and money, time, what the page may claim."""
    for path in SCRIPTS:
        shutil.copy(path, tmp_path)
    # A browser is told that these are modules; node looks here.
    (tmp_path / "package.json").write_text('{"type": "module"}')
    run = subprocess.run(
        [str(NODE), "--test", "--test-reporter=tap", str(Path(__file__).with_name("page.test.mjs"))],
        env={"PAGE": tmp_path.as_uri()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert int(re.search(r"# pass (\d+)", run.stdout)[1]) > 10  # type: ignore[index]
