"""Disks that run full."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[None]:
    """A file system of its own at `folder`; skips where none can be mounted."""
    folder.mkdir(parents=True, exist_ok=True)
    options = ["-t", "tmpfs", "-o", f"size={mebibytes}m,mode=0711", "tmpfs"]
    mounted = subprocess.run(["mount", *options, str(folder)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("a full disk needs the right to mount one (root)")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Take all the room there is."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(b"\0" * 65_536) == 65_536:
                pass
        except OSError:
            pass
    return ballast
