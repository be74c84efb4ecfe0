"""The SQL files: numbered, named, described, and found wherever kflow is installed."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from kflow.store.sqlfiles import migrations, queries, sql_root

CHECKOUT = Path(__file__).resolve().parents[2]


def test_migrations_are_numbered_without_holes() -> None:
    assert [migration.version for migration in migrations()] == list(range(1, len(migrations()) + 1))
    assert len({migration.checksum for migration in migrations()}) == len(migrations())


def test_every_query_says_what_it_does() -> None:
    for file in (sql_root() / "queries").iterdir():
        for name, text in queries(file.name.removesuffix(".sql")).items():
            assert text.startswith("-- "), f"{file.name}: {name} has no comment"
            assert text.endswith(";"), f"{file.name}: {name} does not end"


def test_a_built_wheel_carries_the_same_files(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    script = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=CHECKOUT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("kflow-*.whl")
    installed = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(installed)
    script = (
        "import json, kflow.store.sqlfiles as s; "
        "print(json.dumps([s.__file__, [m.checksum.hex() for m in s.migrations()], sorted(s.queries('sessions'))]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        check=True,
        capture_output=True,
        text=True,
    )
    file, checksums, names = json.loads(done.stdout)
    assert Path(file).is_relative_to(installed)
    assert checksums == [migration.checksum.hex() for migration in migrations()]
    assert names == sorted(queries("sessions"))
