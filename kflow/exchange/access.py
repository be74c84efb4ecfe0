"""Who may come in: the keys the exchange knows, and the three headers of a signed request (protocol section 2)."""

from __future__ import annotations

from collections.abc import Mapping
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
        self._keys: dict[str, PublicKey] = {}

    def register(self, key_id: str, public_key: PublicKey) -> None:
        """Let the holder of the private key in under `key_id`."""
        self._keys[key_id] = public_key

    def revoke(self, key_id: str) -> None:
        self._keys.pop(key_id, None)

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
        public_key = self._keys.get(key_id)
        if public_key is None:
            return _denied("authentication_error", "NOT_FOUND")
        if not verify(public_key, signature, int(stamp), method, path):
            return _denied("authentication_error", "INCORRECT_API_KEY_SIGNATURE")
        return key_id
