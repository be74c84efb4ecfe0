"""The error tree of kflow and the exit code each branch ends a command with.

KflowError                      1  something that was not expected
├── UsageError                  2  the command line does not say what can be done
│   └── UnknownTicker              no market, event or series of that name
├── ConfigError                 3  settings, files or schema do not fit
│   ├── CredentialError            a key file or key id that must not or cannot be used
│   ├── ClockSkew                  our clock is too far from the venue's to sign
│   └── SchemaMismatch             the database holds a schema this version does not know
├── DatabaseError               4  PostgreSQL is unreachable, refuses or fails
├── VenueError                  5  the venue is unreachable or refuses
│   ├── VenueUnreachable           no answer
│   ├── VenueRefused               an answer that says no; carries status and body
│   └── PortTaken                  our own server cannot listen where it was told to
├── DataError                   6  recorded or received data cannot be trusted
│   ├── Unrepresentable            a price, size or amount that does not fit its unit
│   ├── MalformedFrame             a frame that is not a message of the venue
│   ├── BookError                  a delta that contradicts the book it applies to
│   ├── JournalError               a journal that is damaged, full or of another version
│   └── DigestMismatch             two copies of the same session differ
├── RiskHalt                    7  a limit or the kill switch forbids it
├── InstanceLocked              8  another process holds what this one needs
└── ModelError                  9  a model that is incompatible or cannot be verified

Every error carries `hint`: what the reader can do now. The command line prints both.
"""

from __future__ import annotations

from typing import ClassVar


class KflowError(Exception):
    """Base of all errors that kflow raises on purpose."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(KflowError):
    """The command line asks for something that cannot be."""

    exit_code = 2


class UnknownTicker(UsageError):
    """No market, event or series has this name; `suggestions` are near ones, never taken silently."""

    def __init__(self, ticker: str, suggestions: tuple[str, ...] = ()) -> None:
        self.ticker, self.suggestions = ticker, suggestions
        hint = f"did you mean {', '.join(suggestions)}?" if suggestions else "check the ticker on the venue's site"
        super().__init__(f"no market, event or series is called {ticker}", hint=hint)


class ConfigError(KflowError):
    """A setting, a file or an environment does not fit."""

    exit_code = 3


class CredentialError(ConfigError):
    """A key must not or cannot be used. The message never holds key material."""


class ClockSkew(ConfigError):
    """Our clock is too far from the venue's: what we sign would be refused."""

    def __init__(self, offset_s: float) -> None:
        self.offset_s = offset_s
        side = "behind" if offset_s > 0 else "ahead of"
        super().__init__(
            f"this machine's clock is {abs(offset_s):.0f} s {side} the venue's; signed requests would be refused",
            hint="set the clock (for example: timedatectl set-ntp true), then start again",
        )


class SchemaMismatch(ConfigError):
    """The database holds another schema than this version of kflow was written for."""

    def __init__(self, found: int, known: int) -> None:
        self.found, self.known = found, known
        if found > known:
            hint = "it was upgraded by a newer kflow: upgrade this one, or point DATABASE_URL elsewhere"
        else:
            hint = "run: kflow db upgrade"
        super().__init__(f"the database has schema version {found}, this kflow knows {known}", hint=hint)


class DatabaseError(KflowError):
    """PostgreSQL is unreachable, refuses, or failed. The message never holds a password."""

    exit_code = 4


class VenueError(KflowError):
    """The venue (or the local exchange) could not do what was asked."""

    exit_code = 5


class VenueUnreachable(VenueError):
    """No answer: whether a request had an effect is unknown."""


class VenueRefused(VenueError):
    """The venue answered, and said no. `status` is HTTP's, `code` the venue's own word."""

    def __init__(self, status: int, code: str, message: str, *, hint: str = "") -> None:
        self.status, self.code = status, code
        super().__init__(message, hint=hint)


class PortTaken(VenueError):
    """Another program listens where our server should."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        super().__init__(
            f"{host}:{port} is already in use by another program",
            hint="choose another with --port (0 takes any free one)",
        )


class DataError(KflowError):
    """Data that was received or recorded cannot be trusted."""

    exit_code = 6


class Unrepresentable(DataError):
    """A number does not fit its unit exactly; kflow refuses rather than rounds."""

    def __init__(self, what: str, text: object) -> None:
        self.what, self.text = what, text
        super().__init__(f"{text!r} is not a {what}")


class MalformedFrame(DataError):
    """A frame is not a message of the venue. It stays in the journal as it came."""


class BookError(DataError):
    """A delta contradicts its book: a message was lost before it. The book is not changed."""


class JournalError(DataError):
    """A journal is damaged, cannot be written, or is of another version."""


class DigestMismatch(DataError):
    """Two copies of one session differ."""


class RiskHalt(KflowError):
    """A limit or the kill switch forbids it."""

    exit_code = 7


class InstanceLocked(KflowError):
    """Another process holds what this one needs."""

    exit_code = 8


class ModelError(KflowError):
    """A model is incompatible or cannot be verified."""

    exit_code = 9
