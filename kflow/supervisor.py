"""The service manager that started this process: told when it is ready, how it goes, that it goes on, and that it ends.

systemd's notify protocol (sd_notify(3)): datagrams to the socket that NOTIFY_SOCKET names. Without that variable
nothing is said to anybody, and nothing costs anything.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import MutableMapping
from typing import Final

_log = logging.getLogger(__name__)
_VARIABLES: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
# A manager that does not read is not waited for longer: the market does not wait either.
_PATIENCE_S: Final = 0.1
_LONGEST_STATUS: Final = 500


class Supervisor:
    """Speaks to the manager. No call raises; what could not be said is told in the log, once."""

    def __init__(self, address: str | None = None) -> None:
        """`address`: as in NOTIFY_SOCKET, a path or an abstract name that begins with @; None: nobody listens."""
        self._socket = _connected(address) if address else None
        self._address = address
        self._lost = False
        self._status = ""

    @classmethod
    def of_environment(cls, environ: MutableMapping[str, str] | None = None) -> Supervisor:
        """The one that the variables name. They are taken away: no child is to speak for us."""
        environ = os.environ if environ is None else environ
        address, *_ = [environ.pop(name, None) for name in _VARIABLES]
        return cls(address)

    @property
    def listens(self) -> bool:
        """Whether anybody does."""
        return self._socket is not None

    def ready(self) -> None:
        """What was started serves now."""
        self._tell("READY=1")

    def alive(self) -> None:
        """It goes on. To be called for what the service is for, never by a clock alone."""
        self._tell("WATCHDOG=1")

    def say(self, status: str) -> None:
        """One sentence for `systemctl status`; the same one is not said twice in a row."""
        status = " ".join(status.split())[:_LONGEST_STATUS]
        if status != self._status and self._tell(f"STATUS={status}"):
            self._status = status

    def extend(self, seconds: float) -> None:
        """Starting or stopping takes at least so much longer."""
        self._tell(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}")

    def stopping(self, status: str) -> None:
        """It ends now, in order."""
        self._tell("STOPPING=1")
        self.say(status)

    def close(self) -> None:
        """Say no more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _tell(self, words: str) -> bool:
        if self._socket is None:
            return False
        try:
            if self._lost:  # a manager that began anew has another socket under its name
                self._socket.connect(_unix(self._address or ""))
            self._socket.send(words.encode())
        except TimeoutError:
            return False  # its buffer is full; what is said again and again is said the next time
        except OSError as error:
            if not self._lost:
                _log.warning("the service manager cannot be told anything now: %s", error.strerror or error)
            self._lost = True
            return False
        self._lost = False
        return True


def _unix(address: str) -> str:
    return "\0" + address[1:] if address[0] == "@" else address


def _connected(address: str) -> socket.socket | None:
    if address[0] not in "/@" or len(address) == 1:
        _log.warning("NOTIFY_SOCKET is neither a path nor an abstract name: nobody is told how this service goes")
        return None
    found = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | getattr(socket, "SOCK_CLOEXEC", 0))
    found.settimeout(_PATIENCE_S)
    try:
        found.connect(_unix(address))
    except OSError as error:
        found.close()
        _log.warning("the service manager at %s does not listen: %s", address, error.strerror or error)
        return None
    return found


NOBODY: Final = Supervisor()
