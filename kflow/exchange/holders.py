"""The users that an exchange starts with: each has an account and a key, whose private part is in a file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from kflow.errors import ConfigError
from kflow.exchange.access import PublicKey
from kflow.kalshi.auth import write_new_key


@dataclass(frozen=True, slots=True)
class Holder:
    """One user and the key that was made for it."""

    user_id: str
    key_id: str
    private_key_path: Path
    public_key: PublicKey

    def document(self) -> dict[str, str]:
        return {
            "user_id": self.user_id,
            "key_id": self.key_id,
            "private_key_path": os.fspath(self.private_key_path),
        }


def new_holders(folder: Path, count: int, *, rsa: bool) -> tuple[Holder, ...]:
    """Make users and their keys, written as exchange-key.pem, exchange-key-2.pem … over those of an earlier run.

    Raises ConfigError, CredentialError where a file cannot be written.
    """
    holders = []
    for number in range(1, count + 1):
        path = folder / ("exchange-key.pem" if number == 1 else f"exchange-key-{number}.pem")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot write the key {path}: {error.strerror}", hint="choose another --keys") from None
        holders.append(Holder(str(uuid4()), str(uuid4()), path, write_new_key(path, rsa=rsa)))
    return tuple(holders)
