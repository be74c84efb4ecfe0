"""A service manager as systemd is one: a datagram socket that services speak to, and what they said."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from types import TracebackType


class Manager:
    """Listens at a path, or at an abstract name where it begins with @. `environ`: what a service is started with."""

    def __init__(self, address: Path | str) -> None:
        self.address = str(address)
        self.said: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + self.address[1:] if self.address[0] == "@" else self.address)

    @property
    def environ(self) -> dict[str, str]:
        return {"NOTIFY_SOCKET": self.address, "WATCHDOG_USEC": "3000000"}

    def wait_for(self, words: str, within_s: float = 30.0) -> str:
        """Listen until something that begins with `words` is said, and return it. Raises AssertionError."""
        deadline = time.monotonic() + within_s
        while (left_s := deadline - time.monotonic()) > 0:
            said = self._next(left_s)
            if said is not None and said.startswith(words):
                return said
        raise AssertionError(f"nobody said {words} within {within_s} s, but {self.said}")

    def heard(self, within_s: float) -> list[str]:
        """All that is said in so many seconds."""
        deadline, found = time.monotonic() + within_s, []
        while (left_s := deadline - time.monotonic()) > 0:
            found += [said for said in [self._next(left_s)] if said is not None]
        return found

    def waiting(self) -> list[str]:
        """All that was said by now."""
        found = []
        while (said := self._next(0.0)) is not None:
            found.append(said)
        return found

    def _next(self, within_s: float) -> str | None:
        self._socket.settimeout(within_s)
        try:
            said = self._socket.recv(65536).decode()
        except (TimeoutError, BlockingIOError):
            return None
        self.said.append(said)
        return said

    def __enter__(self) -> Manager:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
