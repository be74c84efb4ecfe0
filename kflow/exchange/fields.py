"""Bodies of requests, read strictly: a known member must have its exact JSON type (protocol section 5.5)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, TypeVar

import msgspec

from kflow.exchange.answers import invalid
from kflow.exchange.terms import OrderRefused
from kflow.units import DOLLAR, Money, Price, Size, parse_money, parse_price, parse_size

T = TypeVar("T")

# No sign, no exponent. One decimal of a price passes too: a client writes "0.5".
_COUNT: Final = re.compile(r"[0-9]{1,15}(\.[0-9]{1,2})?", re.ASCII)
_PRICE: Final = re.compile(r"[0-9]{1,9}\.[0-9]{1,4}", re.ASCII)
_CLIENT_ORDER_ID: Final = re.compile(r"[A-Za-z0-9_\-:+=/]{1,64}", re.ASCII)


class Fields:
    """A JSON object. Members nobody asks for are ignored, null counts as absent; a wrong type raises Refusal."""

    def __init__(self, members: Mapping[str, object]) -> None:
        self._members = members

    @classmethod
    def parse(cls, body: bytes) -> Fields:
        """No body is an empty object."""
        if not body.strip():
            return cls({})
        try:
            members = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise invalid("the body is not JSON") from None
        if not isinstance(members, dict):
            raise invalid("the body is not an object")
        return cls(members)

    def has(self, name: str) -> bool:
        return self._members.get(name) is not None

    def _typed(self, name: str, kind: type[T], what: str) -> T | None:
        value = self._members.get(name)
        if value is None:
            return None
        # True is an int to Python, not to JSON.
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise invalid(f"{name} must be {what}")
        return value

    def text(self, name: str) -> str | None:
        """An empty text counts as absent."""
        return self._typed(name, str, "a string") or None

    def integer(self, name: str) -> int | None:
        return self._typed(name, int, "an integer")

    def flag(self, name: str) -> bool:
        """False where it is absent."""
        return bool(self._typed(name, bool, "true or false"))

    def choice(self, name: str, choices: Mapping[str, T]) -> T | None:
        text = self._typed(name, str, "a string")
        if text is None:
            return None
        if text not in choices:
            raise invalid(f"{name} must be one of {', '.join(choices)}")
        return choices[text]

    def size(self, name: str) -> Size | None:
        """Contracts as a string with at most two decimals, more than none."""
        text = self._typed(name, str, "a string")
        if text is None:
            return None
        if not _COUNT.fullmatch(text) or not parse_size(text):
            raise invalid(f"{name} must be a positive number with at most two decimals")
        return parse_size(text)

    def count(self, name: str) -> Size | None:
        """Contracts as a string of any such number, 0 among them."""
        text = self._typed(name, str, "a string")
        if text is None:
            return None
        if not _COUNT.fullmatch(text):
            raise invalid(f"{name} must be a number with at most two decimals")
        return parse_size(text)

    def price(self, name: str) -> Price | None:
        """Dollars as a string with at most four decimals. Raises OrderRefused beyond a dollar: no market has that."""
        text = self._typed(name, str, "a string")
        if text is None:
            return None
        if not _PRICE.fullmatch(text):
            raise invalid(f"{name} must be dollars with two to four decimals")
        if parse_money(text) > Money(DOLLAR * 100):
            raise OrderRefused(400, "invalid_price", f"{text} is not a price of any market")
        return parse_price(text)

    def client_order_id(self, name: str = "client_order_id") -> str | None:
        text = self.text(name)
        if text is not None and not _CLIENT_ORDER_ID.fullmatch(text):
            raise invalid(f"{name} must be at most 64 letters, digits or _-:+=/")
        return text

    def subaccount(self, name: str = "subaccount") -> int:
        """0, the primary one, where it is absent."""
        number = self.integer(name)
        if number is not None and number < 0:
            raise invalid(f"{name} must not be negative")
        return number or 0

    def shard(self) -> int | None:
        """The `exchange_index`; None where the venue is to find it (absent, or -1)."""
        index = self.integer("exchange_index")
        if index is not None and index < -1:
            raise invalid("exchange_index must not be negative")
        return None if index == -1 else index

    def texts(self, name: str) -> list[str]:
        """An array of strings; empty where it is absent."""
        entries = self._typed(name, list, "an array") or []
        if not all(isinstance(entry, str) for entry in entries):
            raise invalid(f"{name} must be an array of strings")
        return entries

    def objects(self, name: str) -> list[Fields]:
        """An array of objects that must be there, empty or not."""
        entries = need(self._typed(name, list, "an array"), name)
        if not all(isinstance(entry, dict) for entry in entries):
            raise invalid(f"{name} must be an array of objects")
        return [Fields(entry) for entry in entries]

    def items(self, name: str) -> list[Fields]:
        """The same, of at least one."""
        entries = self.objects(name)
        if not entries:
            raise invalid(f"{name} must not be empty")
        return entries


def need(value: T | None, name: str) -> T:
    """A member that must be there. Raises Refusal."""
    if value is None:
        raise invalid(f"{name} is required")
    return value
