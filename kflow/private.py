"""Files for us alone: what makes one, also where a service manager hands it over."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

# systemd copies a service's credentials (LoadCredential=) into a folder of root's that this variable names.
FOLDER: Final = "CREDENTIALS_DIRECTORY"


def ours(status: os.stat_result) -> bool:
    """Whether a file belongs to us, or to root, who may do as he likes anyhow."""
    return status.st_uid in (os.geteuid(), 0)


def closed(status: os.stat_result, path: Path) -> bool:
    """Whether nobody but us and root can do anything with a file.

    systemd lets a service read its credentials by an access list, which stat shows as rights of root's group.
    """
    shared = 0o007 if status.st_uid == 0 and _handed_over(path) else 0o077
    return not status.st_mode & shared


def _handed_over(path: Path) -> bool:
    folder = os.environ.get(FOLDER)
    return bool(folder) and path.absolute().parent == Path(str(folder))
