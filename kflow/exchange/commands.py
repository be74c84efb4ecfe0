"""What a client may say on the socket: decoding commands and naming what is wrong with them (protocol 3.2, 3.4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from kflow.exchange.messages import CHANNELS

ERROR_TEXTS: Final[Mapping[int, str]] = {
    1: "Unable to process message",
    2: "Params required",
    3: "Channels required",
    4: "Subscription IDs required",
    5: "Unknown command",
    7: "Unknown subscription ID",
    8: "Unknown channel name",
    9: "Authentication required",
    10: "Channel error",
    11: "Invalid parameter",
    12: "Exactly one subscription ID is required",
    13: "Unsupported action",
    14: "Market Ticker required",
    15: "Action required",
    18: "Command timeout",
    23: "Match IDs required",
    24: "Index IDs required",
    25: "Subscription buffer overflow",
    26: "Subscription market limit exceeded",
    27: "Too many requests",
    28: "Underlying tickers required",
}


class Refused(Exception):  # an answer, not a failure
    """A command gets an error for an answer. `sid`: the subscription it concerns, whose seq the answer takes."""

    def __init__(self, code: int, *, sid: int | None = None, ident: int | None = None) -> None:
        self.code, self.sid, self.ident = code, sid, ident
        super().__init__(ERROR_TEXTS[code])


@dataclass(frozen=True, slots=True)
class Need:
    """A parameter that a channel cannot be without, and the code that says so."""

    param: str
    code: int


CHANNEL_NEEDS: Final[Mapping[str, Need]] = {
    "cfbenchmarks_value": Need("index_ids", 24),
    "cfbenchmarks_value_5hz": Need("index_ids", 24),
    "pyth_value": Need("underlying_tickers", 28),
}


def decode_command(raw: bytes | str) -> tuple[int | None, str, Mapping[str, object] | None]:
    """A command's id (None where it has none), name and params. Raises Refused."""
    try:
        command = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused(1) from None
    if not isinstance(command, dict):
        raise Refused(1)
    ident = command.get("id")
    if ident is not None and (isinstance(ident, bool) or not isinstance(ident, int) or ident < 0):
        raise Refused(1)
    ident = ident or None  # 0 is "no id"
    name, params = command.get("cmd"), command.get("params")
    if not isinstance(name, str) or not isinstance(params, dict | None):
        raise Refused(1, ident=ident)
    return ident, name, params


def _strings(value: object, code: int, sid: int | None = None) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise Refused(code, sid=sid)
    return value


def channels_of(params: Mapping[str, object]) -> list[str]:
    """The channels to subscribe to, each once. Raises Refused."""
    value = params.get("channels")
    if value is None or value == []:
        raise Refused(3)
    channels = list(dict.fromkeys(_strings(value, 1)))
    if any(channel not in CHANNELS for channel in channels):
        raise Refused(8)
    return channels


def tickers_of(
    params: Mapping[str, object], ticker_of: Callable[[str], str | None] | None, *, sid: int | None = None
) -> list[str] | None:
    """The markets named, None where none is. `ticker_of` maps UUIDs where the channel takes them. Raises Refused."""
    named = [name for name in ("market_ticker", "market_tickers", "market_id", "market_ids") if params.get(name)]
    if not named:
        return None
    if len(named) > 1:
        raise Refused(11, sid=sid)
    value = params[named[0]]
    names = _strings(value if named[0].endswith("s") else [value], 11, sid)
    if named[0].startswith("market_ticker"):
        return list(dict.fromkeys(names))
    if ticker_of is None:
        raise Refused(11, sid=sid)
    return list(dict.fromkeys([ticker for ticker in map(ticker_of, names) if ticker is not None]))


def sids_of(params: Mapping[str, object]) -> list[int]:
    """The subscriptions named, each once. Raises Refused."""
    value = params.get("sids")
    if value is None:
        value = [params["sid"]] if params.get("sid") is not None else None
    if value is None or value == []:
        raise Refused(4)
    if not isinstance(value, list) or not all(isinstance(sid, int) and not isinstance(sid, bool) for sid in value):
        raise Refused(1)
    return list(dict.fromkeys(value))


def one_sid(params: Mapping[str, object]) -> int:
    """The one subscription that an update is for. Raises Refused."""
    if params.get("sid") is not None and params.get("sids"):
        raise Refused(12)
    sids = sids_of(params) if params.get("sid") is not None or params.get("sids") is not None else []
    if len(sids) != 1:
        raise Refused(12)
    return sids[0]
