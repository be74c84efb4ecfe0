"""Where kflow keeps what it records: one private folder per user."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from kflow.errors import ConfigError


def named_dir(override: str | None = None) -> Path:
    """Where the data folder is or would be: as `data_dir`, but nothing is made or checked."""
    chosen = override or os.environ.get("KFLOW_DATA_DIR")
    folder = Path(chosen).expanduser() if chosen else platformdirs.user_data_path("kflow", appauthor=False)
    return folder.absolute()


def data_dir(override: str | None = None) -> Path:
    """The data folder, created with mode 0700: `override`, else KFLOW_DATA_DIR, else the platform's user data folder.

    A folder that exists keeps its mode: it is its owner's to choose. Raises ConfigError where it cannot be used.
    """
    folder = named_dir(override)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"the data folder {folder} cannot be made: {error.strerror}",
            hint="choose another with KFLOW_DATA_DIR",
        ) from error
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise ConfigError(f"the data folder {folder} is not writable", hint="choose another with KFLOW_DATA_DIR")
    return folder
