"""What is shipped: a wheel that is whole, a lock that is strict, a tree without secrets and without anybody's paths."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from kflow.web.files import Files

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


def test_the_wheel_holds_the_page(wheel: zipfile.ZipFile) -> None:
    """Every file that the service serves, with the licences of those that others wrote."""
    shipped = {name.removeprefix("kflow/web/page/") for name in wheel.namelist() if name.startswith("kflow/web/page/")}
    served = set(Files().names)
    assert served <= shipped
    assert "index.html" in served
    vendored = {PurePosixPath(name).parent for name in served if name.startswith("vendor/")}
    assert vendored
    assert all(str(folder / "LICENSE") in served for folder in vendored)


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


def pinned(lock: str) -> dict[str, tuple[str, int]]:
    """Package -> version and number of hashes; every entry has one at least."""
    text = (ROOT / lock).read_text()
    entries = re.findall(
        r"^([a-z0-9._-]+)==(\S+) \\\n((?: +--hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", text, re.MULTILINE
    )
    assert len(entries) == len(re.findall(r"^[a-z0-9]\S*==", text, re.MULTILINE))
    found = {name: (version, hashes.count("--hash")) for name, version, hashes in entries}
    assert len(found) == len(entries), "a package is pinned twice"
    return found


def wanted(requirements: object) -> set[str]:
    assert isinstance(requirements, list)
    return {re.split(r"[\[><=~! ]", requirement)[0].lower() for requirement in requirements}


def test_every_dependency_is_locked_with_a_hash(project: dict[str, object]) -> None:
    optional = project["optional-dependencies"]
    assert isinstance(optional, dict)
    core, training = set(pinned("requirements.lock")), set(pinned("requirements-train.lock"))
    assert wanted(project["dependencies"]) | wanted(optional["export"] + optional["plot"] + optional["dev"]) <= core
    assert wanted(optional["train"] + optional["sweep"]) <= training
    assert not core & training


def test_what_is_installed_is_what_is_locked() -> None:
    locked = pinned("requirements.lock")
    if importlib.util.find_spec("torch"):
        locked |= pinned("requirements-train.lock")
    wrong = {}
    for name, (version, _) in locked.items():
        installed = importlib.metadata.version(name).partition("+")[0]  # of PyTorch any build will do
        if installed != version.partition("+")[0]:
            wrong[name] = (version, installed)
    assert wrong == {}


def test_training_is_locked_without_cuda() -> None:
    locked = pinned("requirements-train.lock")
    assert not [name for name in locked if re.match("nvidia|cuda|triton", name)]
    assert locked["torch"][1] >= 2  # the CPU build for Linux, and macOS


def test_the_locks_name_no_index_and_no_path() -> None:
    allowed = r"#.*|[a-z0-9][a-z0-9._-]*==\S+ \\|    --hash=sha256:[0-9a-f]{64}( \\)?"
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        assert re.fullmatch(allowed, line), line
    for line in (ROOT / "requirements-train.lock").read_text().splitlines():
        assert re.fullmatch(f"{allowed}|-r requirements.lock", line), line


def test_the_core_does_not_ask_for_what_only_training_needs(project: dict[str, object]) -> None:
    assert not re.search(
        r"torch|gymnasium|stable-baselines|sb3|tensorboard|optuna|\bray\b", str(project["dependencies"])
    )


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
    for script in ("run", "lock"):
        assert (ROOT / ".ci" / script).stat().st_mode & 0o111
