"""Whom the embedded server runs as. PostgreSQL refuses root, so root hands it to an account that exists."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kflow.errors import ConfigError

_CANDIDATES: Final = ("kflow", "postgres", "nobody")
# All that a child is given of our environment: no key, no password of ours can reach its processes or its log.
_KEPT_ENVIRONMENT: Final = ("PATH", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


@dataclass(frozen=True, slots=True)
class Account:
    """A user of this machine. `changes` says whether a child must be handed to it."""

    name: str
    uid: int
    gid: int
    changes: bool

    @classmethod
    def for_server(cls, data: Path) -> Account:
        """Ourselves; as root the owner of the cluster at `data`, else the first of kflow, postgres, nobody that exists.

        Raises ConfigError as root where no other account exists.
        """
        if os.geteuid() != 0:
            return cls("", os.geteuid(), os.getegid(), changes=False)
        try:
            owner = data.stat().st_uid
        except FileNotFoundError:
            owner = 0
        for entry in _entries(owner):
            if entry.pw_uid != 0:
                return cls(entry.pw_name, entry.pw_uid, entry.pw_gid, changes=True)
        raise ConfigError(
            "root may not run PostgreSQL, and none of the accounts kflow, postgres and nobody exists",
            hint="run kflow as another user, or set DATABASE_URL",
        )

    def process_options(self) -> dict[str, Any]:
        """Keyword arguments that make subprocess run a child as this account, away from our terminal and secrets."""
        options: dict[str, Any] = {
            "env": {"LC_ALL": "C"} | {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ},
            "stdin": -3,  # subprocess.DEVNULL
            "umask": 0o077,
            "start_new_session": True,
            "cwd": "/",
        }
        if self.changes:
            options |= {"user": self.uid, "group": self.gid, "extra_groups": []}
        return options

    def reaches(self, folder: Path) -> bool:
        """Whether this account may pass through every folder down to `folder`."""
        if not self.changes:
            return True
        return all(self._may_enter(part) for part in (folder, *folder.parents))

    def _may_enter(self, folder: Path) -> bool:
        found = folder.stat()
        if found.st_uid == self.uid:
            return bool(found.st_mode & 0o100)
        if found.st_gid == self.gid:
            return bool(found.st_mode & 0o010)
        return bool(found.st_mode & 0o001)

    def own(self, path: Path) -> None:
        """Give this account a file or a whole folder that we have just made."""
        if not self.changes:
            return
        os.lchown(path, self.uid, self.gid)
        for folder, folders, files in os.walk(path):
            for name in (*folders, *files):
                os.lchown(os.path.join(folder, name), self.uid, self.gid)  # noqa: PTH118 - 2,000 files


def _entries(owner: int) -> list[pwd.struct_passwd]:
    if owner:
        try:
            return [pwd.getpwuid(owner)]
        except KeyError as error:
            raise ConfigError(
                f"the database belongs to user {owner}, who does not exist on this machine",
                hint="create that user, or give the files to another one",
            ) from error
    known = []
    for name in _CANDIDATES:
        try:
            known.append(pwd.getpwnam(name))
        except KeyError:
            continue
    return known
