"""What is shipped: a wheel that is whole, a lock that is strict, a tree without secrets and without anybody's paths."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ITSELF = Path(__file__).name


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built by the locked build tool, without a network."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [built] = folder.glob("*.whl")
    return zipfile.ZipFile(built)


@pytest.fixture(scope="module")
def project() -> dict[str, object]:
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"])


def files(suffixes: tuple[str, ...] = ()) -> list[Path]:
    """The files of the checkout that are or will be committed."""
    done = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("not a git checkout: nothing says which files are the project's")
    names = [name for name in done.stdout.decode().split("\0") if name and (not suffixes or name.endswith(suffixes))]
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def test_the_wheel_holds_the_sql_the_types_and_the_licence(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    migrations = {f"kflow/sql/migrations/{path.name}" for path in (ROOT / "sql" / "migrations").glob("*.sql")}
    queries = {f"kflow/sql/queries/{path.name}" for path in (ROOT / "sql" / "queries").glob("*.sql")}
    assert migrations
    assert queries
    assert migrations | queries | {"kflow/py.typed"} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if name.startswith(("tests/", "bench/"))]


def test_the_wheel_offers_the_command(wheel: zipfile.ZipFile) -> None:
    [points] = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    assert "kflow = kflow.cli.main:main" in wheel.read(points).decode()


def test_the_sql_is_found_in_an_unpacked_wheel(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path)
    code = "from kflow.store.sqlfiles import migrations, sql_root; print(sql_root()); print(len(migrations()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    where, count = done.stdout.split()
    assert where == str(tmp_path / "kflow" / "sql")
    assert int(count) == len(list((ROOT / "sql" / "migrations").glob("*.sql")))


def test_every_dependency_is_locked_with_a_hash(project: dict[str, object]) -> None:
    text = (ROOT / "requirements.lock").read_text()
    pinned = dict(re.findall(r"^([a-z0-9._-]+)==(\S+) \\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE))
    assert len(pinned) == len(re.findall(r"^[a-z0-9]\S*==", text, re.MULTILINE))
    optional = project["optional-dependencies"]
    assert isinstance(optional, dict)
    assert isinstance(project["dependencies"], list)
    for wanted in [*project["dependencies"], *optional["export"], *optional["dev"]]:
        name = re.split(r"[\[><=~! ]", wanted)[0].lower()
        assert name in pinned, name


def test_the_lock_names_no_index_and_no_path() -> None:
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        assert re.fullmatch(r"#.*|[a-z0-9][a-z0-9._-]*==\S+ \\|    --hash=sha256:[0-9a-f]{64}( \\)?", line), line


def test_the_core_does_not_ask_for_what_only_training_needs(project: dict[str, object]) -> None:
    assert not re.search("torch|gymnasium|stable-baselines", str(project["dependencies"]))


def test_the_tree_holds_no_machine_and_no_secret() -> None:
    forbidden = {
        "a path of one machine": re.compile(r"(?<![\w.])/(?:work|root|home/[a-z]+|opt/pypi|opt/wheels)/"),
        "a package host": re.compile(r"pypi\.org|pythonhosted|file:///"),
        "a private key": re.compile(r"BEGIN (?:RSA |EC )?PRIVATE KEY-----\s+[A-Za-z0-9+/=]{40}"),
        "an access token": re.compile(r"\b(?:ghp|gho|github_pat|sk|xox[bp])[-_][A-Za-z0-9]{20,}"),
    }
    found = []
    for path in files():
        if path.name == ITSELF or path.suffix in (".gz", ".png", ".npz"):
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        found += [f"{path.relative_to(ROOT)}: {what}" for what, pattern in forbidden.items() if pattern.search(text)]
    assert found == []


def test_no_file_is_large() -> None:
    assert [path for path in files() if path.stat().st_size > 500_000] == []


def test_scripts_can_be_run() -> None:
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
