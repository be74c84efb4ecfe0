"""Numbers, times and names in words that people read. What is not known is an em dash."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

UNKNOWN: Final = "—"
MINUS: Final = "\N{MINUS SIGN}"
FILL_WORDS: Final = {
    "queue-pessimistic": "pessimistic",
    "queue": "calibrated",
    "queue-optimistic": "optimistic",
}


def plain(value: object) -> str:
    """Text without what steers a terminal, a page or the direction of writing."""
    return "".join(c if c.isprintable() else " " if c in "\n\t\r" else "·" for c in str(value))


def short(text: str, most: int) -> str:
    """No longer than `most`: the middle is left out, since tickers differ at their ends."""
    text = plain(text)
    if len(text) <= most:
        return text
    ahead = (most - 1) // 2
    return f"{text[:ahead]}…{text[len(text) - (most - 1 - ahead) :]}"


def fills(model: str) -> str:
    """A fill model by its place in the band."""
    return FILL_WORDS.get(model, plain(model))


def _places(value: float) -> int:
    size = abs(value)
    return 0 if size >= 1000 else 2 if size >= 0.1 else 3 if size >= 0.01 else 4


def _fixed(value: float, places: int, sign: bool) -> str:
    """Sign, digits; of what rounds to zero no sign is shown."""
    text = f"{abs(value):,.{places}f}"
    return (MINUS if value < 0 else "+" if sign else "") * bool(text.strip("0.,")) + text


def number(value: float | None, places: int = 2, *, sign: bool = False) -> str:
    if value is None:
        return UNKNOWN
    return _fixed(value, places, sign)


def count(value: float | None) -> str:
    """Things counted; means of such with a decimal where it matters."""
    if value is None:
        return UNKNOWN
    return _fixed(value, 0 if value == int(value) or abs(value) >= 100 else 1, sign=False)


def dollars(value: float | None, *, sign: bool = False, places: int | None = None) -> str:
    if value is None:
        return UNKNOWN
    text = _fixed(value, _places(value) if places is None else places, sign)
    if not text.strip("0.,"):
        return "$0"
    return f"{text[0]}${text[1:]}" if text[0] in f"+{MINUS}" else f"${text}"


def spread(low: float | None, high: float | None) -> str:
    """An interval in dollars."""
    if low is None or high is None:
        return UNKNOWN
    places = min(_places(low or high), _places(high or low))
    return f"{dollars(low, sign=True, places=places)} to {dollars(high, sign=True, places=places)}"


def cents(value: float | None, *, sign: bool = False, error: float | None = None) -> str:
    if value is None:
        return UNKNOWN
    return _fixed(value, 2, sign) + (f" ± {error:.2f}" if error is not None else "") + " ¢"


def share(value: float | None, places: int = 1) -> str:
    return UNKNOWN if value is None else f"{_fixed(100 * value, places, sign=False)} %"


def chance(p: float | None) -> str:
    """A p-value or probability."""
    if p is None:
        return UNKNOWN
    return "< 0.001" if p < 0.001 else "> 0.99" if p > 0.99 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def moment(us: float | None) -> str:
    """A time in µs, to the minute."""
    if us is None:
        return UNKNOWN
    try:
        return datetime.fromtimestamp(us / 1e6, UTC).strftime("%Y-%m-%d %H:%MZ")
    except (OverflowError, OSError, ValueError):
        return UNKNOWN


def time(text: str | None) -> str:
    """An RFC 3339 time to the minute; what is none, as it stands."""
    if text is None:
        return UNKNOWN
    try:
        return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%MZ")
    except (ValueError, OverflowError):
        return plain(text)


def duration(seconds: float | None) -> str:
    """In the two units that matter."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    if seconds < 60:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if minutes < 60:
        return f"{minutes} min" + (f" {int(seconds % 60)} s" if int(seconds % 60) else "")
    if hours < 48:
        return f"{hours} h" + (f" {minutes % 60} min" if minutes % 60 else "")
    return f"{days} d" + (f" {hours % 24} h" if hours % 24 else "")


def counted(amount: int | None, one: str, many: str | None = None) -> str:
    """Three events, 1 event."""
    if amount is None:
        return f"{UNKNOWN} {many or one + 's'}"
    return f"{amount:,} {one if amount == 1 else many or one + 's'}"


def listed(items: Sequence[str], most: int = 6) -> str:
    kept = ", ".join(plain(item) for item in items[:most])
    return kept + (f" and {len(items) - most:,} more" if len(items) > most else "")


def between(low: float | None, high: float | None) -> str:
    """A bin; open where an end is not told."""
    if low is None and high is None:
        return UNKNOWN
    if low is None:
        return f"< {_trim(high)}"
    if high is None:
        return f"≥ {_trim(low)}"
    if low == high:
        return _trim(low)
    return f"{_trim(low)} to {_trim(high)}" if low < 0 else f"{_trim(low)}\N{EN DASH}{_trim(high)}"


def _trim(value: float | None) -> str:
    if value is None:
        return UNKNOWN
    text = f"{value / 1000:g}k" if abs(value) >= 1000 else f"{value:g}"
    return text.replace("-", MINUS)


def value(item: Any) -> str:
    """Anything of the assumptions."""
    if item is None:
        return UNKNOWN
    if isinstance(item, bool):
        return "yes" if item else "no"
    if isinstance(item, int | float):
        return f"{item:,}".replace("-", MINUS) if isinstance(item, int) else f"{item:,g}".replace("-", MINUS)
    if isinstance(item, dict):
        return "; ".join(f"{name(key)} {value(inner)}" for key, inner in item.items()) or UNKNOWN
    if isinstance(item, list | tuple):
        return ", ".join(value(inner) for inner in item) or UNKNOWN
    return plain(item)


def name(key: object) -> str:
    """A key as a label."""
    text = plain(key).replace("_", " ")
    return f"{text[:-2]}, s" if text.endswith(" s") else text
