"""Fixtures that several rooms share."""

import os
from pathlib import Path

import pytest

pytest_plugins = ["kflow.testing.postgres"]


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of real recordings; tests that ask for it are marked `realdata`."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("KFLOW_REALDATA", default))
    if not (folder / "README.md").is_file():
        pytest.skip(f"no real recordings at {folder} (set KFLOW_REALDATA)")
    return folder
