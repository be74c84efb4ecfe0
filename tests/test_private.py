"""Files as systemd hands them to a service that is not root: root's, with an access list."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from kflow.private import FOLDER

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not hasattr(os, "setxattr"), reason="only root on Linux can hand a file to another user"
)
NOBODY = 65534
ANYBODY = 0xFFFFFFFF
# Tries to use a file as a key and as a secret, as a user who owns nothing.
LOOK = """
import os, sys
from pathlib import Path
from kflow.errors import CredentialError
from kflow.kalshi.auth import ApiKey
from kflow.wiring import secret_line
os.setgroups([]); os.setgid(65534); os.setuid(65534)
for use in (lambda path: ApiKey.load("id", path), lambda path: secret_line(path, "it")):
    try:
        use(Path(sys.argv[1]))
    except CredentialError as error:
        print(error)
"""


def handed_over(path: Path) -> Path:
    """A file of root's that one more user may read: mode 0440 to stat, as systemd makes it."""
    path.write_text("secret\n")
    entries = [(1, 4, ANYBODY), (2, 4, NOBODY), (4, 0, ANYBODY), (16, 4, ANYBODY), (32, 0, ANYBODY)]
    access = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(path, "system.posix_acl_access", access)
    except OSError as error:
        pytest.skip(f"no access lists on this file system: {error.strerror}")
    assert path.stat().st_mode & 0o777 == 0o440
    return path


def seen(path: Path, **environ: str) -> list[str]:
    for folder in (path.parent, *path.parent.parents):
        if folder != Path("/tmp") and folder.owner() == "root" and "pytest" in str(folder):
            folder.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if name != FOLDER}
    done = subprocess.run(
        [sys.executable, "-c", LOOK, str(path)], env=kept | environ, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_a_credential_of_the_service_is_taken(tmp_path: Path) -> None:
    path = handed_over(tmp_path / "kalshi.pem")
    [not_pem] = seen(path, **{FOLDER: str(tmp_path)})  # it was read: the line is a secret, and no key
    assert "is not PEM" in not_pem


def test_the_same_file_elsewhere_is_not(tmp_path: Path) -> None:
    path = handed_over(tmp_path / "kalshi.pem")
    for environ in ({}, {FOLDER: ""}, {FOLDER: str(tmp_path / "other")}):
        key, line = seen(path, **environ)
        assert "can be used by others (mode 0440)" in key
        assert "others can read" in line


def test_a_credential_that_everybody_may_read_is_not(tmp_path: Path) -> None:
    path = handed_over(tmp_path / "kalshi.pem")
    path.chmod(0o444)
    assert len(seen(path, **{FOLDER: str(tmp_path)})) == 2
