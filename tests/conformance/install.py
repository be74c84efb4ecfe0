"""Installs the independent clients and libraries of the conformance tests, each into a virtual environment of its own.

`python tests/conformance/install.py [NAME …]` makes `.venvs/<client>` from `<client>.lock` beside this file, of all or
of those named, and does nothing where that is done. Where no package registry can be reached it says so, leaves
`.venvs/<client>.unreachable` and ends with 0: the tests of that client are then skipped. Any other failure ends it
with 1.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
ENVIRONMENTS: Final = HERE.parents[1] / ".venvs"
# How pip speaks of a network that is not there. A package that the registry does not have, or has with another hash,
# is no such case.
_UNREACHABLE: Final = (
    "NewConnectionError", "NameResolutionError", "ConnectTimeoutError", "ReadTimeoutError", "ProxyError",
    "ConnectionResetError", "RemoteDisconnected", "SSLError", "Max retries exceeded", "Network is unreachable",
)  # fmt: skip


# What is installed beside the clients and trades on nothing.
_LIBRARIES: Final = frozenset({"empyrical-reloaded", "hftbacktest", "readers"})


def locks() -> list[str]:
    """All that has an environment of its own."""
    return sorted(lock.stem for lock in HERE.glob("*.lock"))


def clients() -> list[str]:
    """Those that speak to an exchange."""
    return [name for name in locks() if name not in _LIBRARIES]


def python_of(client: str) -> Path:
    """The interpreter that has the client, once it is installed."""
    return ENVIRONMENTS / client / "bin" / "python"


def installed(client: str) -> bool:
    """Whether the client is there as its lock file says."""
    stamp = ENVIRONMENTS / client / ".installed"
    return stamp.is_file() and stamp.read_bytes() == (HERE / f"{client}.lock").read_bytes()


def unreachable(client: str) -> str | None:
    """Why the client could not be had at the last attempt, if no registry was in reach."""
    note = ENVIRONMENTS / f"{client}.unreachable"
    return note.read_text() if note.is_file() else None


def install(client: str) -> bool:
    """Whether the client is installed or its registry is out of reach; False is a failure, told on stderr."""
    note = ENVIRONMENTS / f"{client}.unreachable"
    note.unlink(missing_ok=True)
    if installed(client):
        return True
    print(f"installing {client} into .venvs/{client}")
    folder, lock = ENVIRONMENTS / client, HERE / f"{client}.lock"
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    # Some clients ask for a newer Python than they need, or for packages they do not import; the lock has all that is
    # installed, and its hashes fix it.
    done = subprocess.run(
        [str(python_of(client)), "-m", "pip", "install", "--disable-pip-version-check", "--retries", "1", "--timeout",
         "20", "--require-hashes", "--only-binary=:all:", "--ignore-requires-python", "--no-deps", "-r", str(lock)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode == 0:
        (folder / ".installed").write_bytes(lock.read_bytes())
        return True
    said = done.stdout + done.stderr
    shutil.rmtree(folder, ignore_errors=True)
    if any(words in said for words in _UNREACHABLE):
        reason = f"{client} is not installed: no package registry can be reached"
        note.write_text(reason)
        print(f"{reason}; its tests will be skipped")
        return True
    print(f"pip could not install {client}:\n{said}", file=sys.stderr)
    return False


def main(names: list[str]) -> int:
    """Install those named, or all of them; every one is tried, whatever became of the others."""
    if unknown := set(names) - set(locks()):
        print(f"there is no {min(unknown)}.lock: choose of {', '.join(locks())}", file=sys.stderr)
        return 2
    return 0 if all(list(map(install, names or locks()))) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
