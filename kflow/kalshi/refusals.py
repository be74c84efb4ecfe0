"""When the venue says no: its four error shapes as one error, and what a 401 can mean (protocol 2.4 and 5.1)."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from kflow.errors import VenueRefused

EXPIRED: Final = "header_timestamp_expired"
# Beyond this a signature is refused (section 2.3), so a smaller offset rules the clock out.
_CLOCK_RULED_OUT_MS: Final = 5_000

_HINTS: Final = {
    403: "the key lacks a scope for this, or the account is barred from it; recording asks for the scope `read`",
    404: "",
    429: "the venue limits how often it is asked; try again in a minute",
}
_CAUSES: Final = {
    "NOT_FOUND": (
        "it does not know this key id",
        "the id is misspelt, was deleted, or belongs to another environment: demo and production share no keys",
    ),
    "INCORRECT_API_KEY_SIGNATURE": (
        "it knows the key id, but the signature is another key's",
        "the key file belongs to another key id: pair each file with the id it was made with",
    ),
    "signature_is_missing_from_headers": (
        "the signature did not arrive",
        "something between this machine and the venue removes headers: connect without it",
    ),
    EXPIRED: (
        "the signature's time is too far from the venue's",
        "set the clock, for example: timedatectl set-ntp true",
    ),
}


def refusal(request: str, status: int, body: bytes) -> VenueRefused:
    """The error of an answer that is not 2xx. `request` says what was asked, without its query."""
    code, words = read_error(body)
    said = ": ".join(part for part in (code, words) if part) or "no reason given"
    hint = _HINTS.get(status, "the venue is in trouble; try again later" if status >= 500 else "")
    return VenueRefused(status, code, f"{request} was refused (HTTP {status}): {said}", hint=hint)


def unauthorised(request: str, body: bytes, *, algorithm: str, offset_ms: float | None) -> VenueRefused:
    """The error of a signed request that got a 401: the likeliest cause, and which others are ruled out.

    `offset_ms` is how far our clock is from the venue's; None where it was not measured.
    """
    code, words = read_error(body)
    cause, remedy = _CAUSES.get(words) or _CAUSES.get(code) or ("it does not say why", "check key id and key file")
    said = ": ".join(part for part in (code, words) if part)
    ruled_out = [f"the key file (a sound {algorithm} key)", "the signed path (as requested, without its query)"]
    if offset_ms is not None and abs(offset_ms) <= _CLOCK_RULED_OUT_MS:
        ruled_out.append(f"the clock ({abs(offset_ms) / 1000:.1f} s off)")
    elif offset_ms is not None:
        remedy = f"our clock is {abs(offset_ms) / 1000:.0f} s off: set it first"
    return VenueRefused(
        401,
        code,
        f"{request} was refused (HTTP 401): {cause}{f' ({said})' if said else ''}",
        hint=f"{remedy}. Ruled out: {', '.join(ruled_out)}",
    )


def read_error(body: bytes) -> tuple[str, str]:
    """Code and words of an error body in any of the venue's shapes; ("", text) for a body that is none of them.

    The words of a 401 are its `details`, which say more than its message.
    """
    try:
        answer: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "", _plain(body.decode("utf-8", "replace"))
    if not isinstance(answer, dict):
        return "", _plain(str(answer))
    error = answer.get("error", answer)
    if isinstance(error, str):
        return _plain(error), ""
    if not isinstance(error, dict):
        return "", _plain(str(error))
    code = error.get("code")
    words = error.get("details") or error.get("message") or error.get("msg")
    code, words = _plain(str(code or "")), _plain(str(words or ""))
    return code, "" if words == code else words


def _plain(text: str) -> str:
    """One line that a terminal can show: an answer must not move its cursor."""
    line = "".join(char if char.isprintable() else " " for char in text[:400])
    return " ".join(line.split())[:200]
