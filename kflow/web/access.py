"""Who may ask what: the names the service answers to, and the token that writes need."""

from __future__ import annotations

import hmac
import ipaddress
import os
import re
import secrets
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from kflow.errors import ConfigError, CredentialError

_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::([0-9]{1,5}))?", re.ASCII)
_TOKEN: Final = re.compile(r"[!-~]{32,512}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Which Host names are answered, and what needs the token. Made by `for_host`."""

    # Lower case, without port. IP literals need not be named: no DNS name can be bent to them.
    names: frozenset[str]
    # None: nothing that needs a token is allowed.
    token: str | None = field(repr=False)
    # True: we listen beyond this machine, so reads need the token too.
    guarded: bool

    @classmethod
    def for_host(cls, host: str, token: str | None, *, names: Sequence[str] = ()) -> Access:
        """Access for a service that listens on `host`; `names` are further Host names, such as a proxy's.

        Raises ConfigError where others could reach the service and there is no token.
        """
        guarded = not is_loopback(host)
        if guarded and token is None:
            raise ConfigError(
                f"refusing to listen on {host} without a token: others could read and stop this recorder",
                hint="set web.token_file, or listen on 127.0.0.1",
            )
        own = {"localhost"} if not guarded else {host.lower()}
        return cls(names=frozenset(own | {name.lower() for name in names}), token=token, guarded=guarded)

    def knows(self, host: str | None) -> bool:
        """Whether a Host header names this service."""
        match = _HOST.fullmatch(host.lower()) if host else None
        if match is None:
            return False
        name = match[1]
        if name in self.names:
            return True
        address = _address(name.strip("[]"))
        return address is not None and (self.guarded or address.is_loopback)

    def trusts(self, origin: str | None, host: str) -> bool:
        """Whether a page of `origin` may write or open a stream: only our own, and programs, which send none."""
        return origin is None or origin.lower() in {f"http://{host.lower()}", f"https://{host.lower()}"}

    def admits(self, authorization: str | None) -> bool:
        """Whether an Authorization header carries the token."""
        scheme, _, given = (authorization or "").partition(" ")
        if self.token is None or scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(given.strip().encode(), self.token.encode())


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens on `host`."""
    address = _address(host)
    return host.lower() == "localhost" or (address is not None and address.is_loopback)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def load_token(path: Path) -> str:
    """The token in the file, which is made on first use (mode 0600, 256 random bits). Raises CredentialError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    flags = os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | flags, 0o600)
    except FileExistsError:
        return _read_token(path, flags)
    except OSError as error:
        raise CredentialError(f"cannot make the token file {path}: {error.strerror}") from None
    token = secrets.token_urlsafe(32)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{token}\n")
    return token


def _read_token(path: Path, flags: int) -> str:
    try:
        # Not blocking: opening a pipe for reading would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | flags)
    except OSError as error:
        raise CredentialError(
            f"cannot read the token file {path}: {error.strerror}", hint="it must be a file of this user, not a link"
        ) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise CredentialError(
                f"the token file {path} could be read or written by others",
                hint=f"chown it to the user of kflow, and: chmod 600 {path}",
            )
        token = os.read(descriptor, 1024).decode("ascii", "replace").strip()
    finally:
        os.close(descriptor)
    if not _TOKEN.fullmatch(token):
        raise CredentialError(
            f"the token file {path} holds no token", hint="remove the file: a new token is made on the next start"
        )
    return token
