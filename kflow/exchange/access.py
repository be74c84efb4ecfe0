"""Who may come in: the keys the exchange knows, and the three headers of a signed request (protocol section 2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from kflow.clock import Clock
from kflow.kalshi.auth import verify

PublicKey = Ed25519PublicKey | RSAPublicKey

KEY_HEADER: Final = "KALSHI-ACCESS-KEY"
TIMESTAMP_HEADER: Final = "KALSHI-ACCESS-TIMESTAMP"
SIGNATURE_HEADER: Final = "KALSHI-ACCESS-SIGNATURE"

# How far a request's timestamp may lie behind and ahead of our clock (section 2.3).
BEHIND_MS: Final = 15_000
AHEAD_MS: Final = 45_000

# The user whose key an exchange makes when it starts.
USER: Final = "10ca1000-0000-4000-8000-000000000001"

# What a key may be good for; the part before the colons covers the whole.
SCOPES: Final = (
    "read",
    "write",
    "read::block_trade_accept",
    "read::portfolio_balance",
    "write::trade",
    "write::transfer",
    "write::fcm_risk",
    "write::block_trade_accept",
)
FULL_ACCESS: Final = ("read", "write")


@dataclass(frozen=True, slots=True)
class Key:
    """One API key: whose it is and what it may do."""

    key_id: str
    public_key: PublicKey
    user_id: str = USER
    name: str = ""
    scopes: tuple[str, ...] = FULL_ACCESS
    subaccount: int | None = None  # the only one it may touch

    def allows(self, scope: str) -> bool:
        """Whether the key has a scope, or the broader one that holds it."""
        return scope in self.scopes or scope.partition("::")[0] in self.scopes


@dataclass(frozen=True, slots=True)
class Denied:
    """An HTTP answer that says no."""

    status: int
    body: Mapping[str, object]


def _denied(code: str, details: str = "") -> Denied:
    error = {"code": code, "message": code}
    return Denied(401, {"error": {**error, "details": details} if details else error})


class Access:
    """The keys of the exchange's users."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._keys: dict[str, Key] = {}
        self.dismiss: Callable[[str], None] = lambda _: None

    def register(self, key_id: str, public_key: PublicKey, user_id: str = USER) -> Key:
        """Let the holder of the private key in under `key_id`, with full access."""
        return self.add(Key(key_id, public_key, user_id))

    def add(self, key: Key) -> Key:
        """Let a key in; it takes the place of one with its id."""
        self._keys[key.key_id] = key
        return key

    def revoke(self, key_id: str) -> None:
        """Let a key in no more, and whoever came in with it out."""
        self._keys.pop(key_id, None)
        self.dismiss(key_id)

    def key(self, key_id: str) -> Key | None:
        return self._keys.get(key_id)

    def audience(self, key_id: str) -> tuple[str, int | None]:
        """Whose private messages a key's sockets hear (nobody's if it may not read), of which subaccount (None: all).

        Raises KeyError for a key that is not known.
        """
        key = self._keys[key_id]
        return (key.user_id if key.allows("read") else "", key.subaccount)

    def keys_of(self, user_id: str) -> list[Key]:
        """A user's keys, oldest first."""
        return [key for key in self._keys.values() if key.user_id == user_id]

    def check(self, headers: Mapping[str, str], method: str, path: str) -> str | Denied:
        """The key id of a signed request, or the answer it gets. `path` is without the query."""
        key_id, stamp, signature = (headers.get(name) for name in (KEY_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER))
        if not key_id or not stamp or not signature:
            return _denied("signature_is_missing_from_headers")
        if not stamp.isdecimal() or len(stamp) > 19:
            return _denied("authentication_error", "INCORRECT_API_KEY_SIGNATURE")
        ahead_ms = int(stamp) - self._clock.wall_ns() // 1_000_000
        if not -BEHIND_MS <= ahead_ms <= AHEAD_MS:
            return _denied("header_timestamp_expired")
        key = self._keys.get(key_id)
        if key is None:
            return _denied("authentication_error", "NOT_FOUND")
        if not verify(key.public_key, signature, int(stamp), method, path):
            return _denied("authentication_error", "INCORRECT_API_KEY_SIGNATURE")
        return key_id
