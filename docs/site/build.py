"""Makes the documentation's site: `python docs/site/build.py SITE [DOCS]`. Every warning is an error.

Sphinx lives in .venvs/docs, made from requirements.lock beside this file, and is in no other environment. `--install`
only makes that, and ends with 0 too where no package registry can be reached: it says so, and what needs Sphinx is left
out. Standard library only, as it runs before anything is installed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
DOCS: Final = HERE.parent
ENVIRONMENT: Final = DOCS.parent / ".venvs" / "docs"
PYTHON: Final = ENVIRONMENT / "bin" / "python"
LOCK: Final = HERE / "requirements.lock"
# How pip speaks of a network that is not there.
_UNREACHABLE: Final = ("NameResolutionError", "NewConnectionError", "ConnectTimeoutError", "Max retries exceeded")


def installed() -> bool:
    """Whether Sphinx is there as the lock says."""
    stamp = ENVIRONMENT / ".installed"
    return stamp.is_file() and stamp.read_bytes() == LOCK.read_bytes()


def install() -> str:
    """Make the environment, unless it is there. What pip said where it failed, else nothing."""
    if installed():
        return ""
    print("installing Sphinx into .venvs/docs", file=sys.stderr)
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    venv.create(ENVIRONMENT, with_pip=True)
    done = subprocess.run(
        [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1",
         "--timeout", "20", "--require-hashes", "--only-binary=:all:", "-r", str(LOCK)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        return done.stdout + done.stderr
    (ENVIRONMENT / ".installed").write_bytes(LOCK.read_bytes())
    return ""


def build(site: Path, docs: Path) -> int:
    """Write the site of `docs` to `site`; Sphinx's exit code, which a single warning makes 1."""
    known = site.with_name(site.name + ".doctrees")
    how = ["-b", "html", "-c", str(HERE), "-d", str(known), "-E", "-a", "-W", "--keep-going", "-q"]  # all of it, anew
    return subprocess.run([str(PYTHON), "-m", "sphinx", *how, str(docs), str(site)], check=False).returncode


def main(arguments: list[str]) -> int:
    """The command line."""
    said = install()
    if said and arguments == ["--install"] and any(words in said for words in _UNREACHABLE):
        print("Sphinx is not installed: no package registry can be reached; the site is not built", file=sys.stderr)
        return 0
    if said:
        print(f"pip could not install Sphinx:\n{said}", file=sys.stderr)
        return 1
    if arguments == ["--install"]:
        return 0
    site = Path(arguments[0])
    done = build(site, Path(arguments[1]) if arguments[1:] else DOCS)
    if done == 0:
        print(site / "index.html")
    return done


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("say where: python docs/site/build.py build/site")
    sys.exit(main(sys.argv[1:]))
