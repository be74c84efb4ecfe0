"""Price, Size and Money: integers whose product is exact, and the only parsers of them.

Price x Size is Money: 1e-4 dollar x 1e-2 contract = 1e-6 dollar. Nothing rounds on the way in: a number that does not
fit its unit is refused (`Unrepresentable`). Wire forms: kalshi-protocol section 0.3.
"""

from __future__ import annotations

import re
from decimal import Context, Decimal
from typing import Final, NewType, TypeVar

from kflow.errors import Unrepresentable

Price = NewType("Price", int)  # 1e-4 dollar per contract: 5600 is $0.56, a probability of 56 %
Size = NewType("Size", int)  # 1e-2 contract: 100 is one contract
Money = NewType("Money", int)  # 1e-6 dollar

T = TypeVar("T")

DOLLAR: Final = Price(10_000)  # what a contract pays at most
CONTRACT: Final = Size(100)
DOLLAR_MONEY: Final = Money(1_000_000)

# What PostgreSQL's bigint holds; a size or amount beyond it is a fault of the sender.
_INT64_MAX: Final = 2**63 - 1
# Plain decimals only: the venue sends no exponents, signs of plus, underscores or spaces.
_DECIMAL: Final = re.compile(r"-?[0-9]{1,19}(\.[0-9]{1,12})?", re.ASCII)
# Wide enough that scaling whatever passes the checks of _scaled never rounds.
_EXACT: Final = Context(prec=60)

# Caches make the hot path 5-10 times cheaper than Decimal; validation lives on the miss path. Prices are at most
# 10,001 values in a few spellings; distinct sizes are unbounded, so the cache is emptied when it is full (9 MB).
_CACHE_LIMIT: Final = 65_536


def _scaled(text: object, places: int, what: str) -> int:
    """`text` x 10^places as an integer. Takes str, int and Decimal (an exact JSON number); never float."""
    if isinstance(text, bool) or not isinstance(text, str | int | Decimal):
        raise Unrepresentable(what, text)
    if isinstance(text, str) and not _DECIMAL.fullmatch(text):
        raise Unrepresentable(what, text)
    if isinstance(text, int) and not -_INT64_MAX <= text <= _INT64_MAX:
        raise Unrepresentable(what, text)
    number = Decimal(text)
    # Looked at before any arithmetic: the integer of the JSON number 1e999990 alone takes most of a minute.
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -24 or number.adjusted() > 19:
        raise Unrepresentable(what, text)
    scaled = _EXACT.scaleb(number, places)
    whole = int(scaled)
    if scaled != whole or not -_INT64_MAX <= whole <= _INT64_MAX:
        raise Unrepresentable(what, text)
    return whole


class _Prices(dict[object, Price]):
    def __missing__(self, text: object) -> Price:
        price = Price(_scaled(text, 4, "price in [0, 1] dollars with at most 4 decimals"))
        if not 0 <= price <= DOLLAR:
            raise Unrepresentable("price in [0, 1] dollars with at most 4 decimals", text)
        _keep(self, text, price)
        return price


class _Sizes(dict[object, Size]):
    def __missing__(self, text: object) -> Size:
        size = Size(_scaled(text, 2, "number of contracts with at most 2 decimals"))
        _keep(self, text, size)
        return size


def _keep(cache: dict[object, T], text: object, value: T) -> None:
    # Text only: True and 1.0 equal the number 1, and would be let through once it was cached.
    if isinstance(text, str):
        if len(cache) >= _CACHE_LIMIT:
            cache.clear()
        cache[text] = value


# Indexing these is the fast form of the parsers below: PRICES["0.5600"] == 5600.
PRICES: Final = _Prices()
SIZES: Final = _Sizes()


def parse_price(text: str | int | Decimal) -> Price:
    """Dollars as the venue writes them ("0.56", "0.5600") to Price. Raises Unrepresentable."""
    return PRICES[text] if isinstance(text, str) else PRICES.__missing__(text)


def parse_size(text: str | int | Decimal) -> Size:
    """Contracts as the venue writes them ("12", "12.50", "-54.00") to Size; signed. Raises Unrepresentable."""
    return SIZES[text] if isinstance(text, str) else SIZES.__missing__(text)


def parse_money(text: str | int | Decimal) -> Money:
    """Dollars with up to six decimals ("0.017100") to Money; signed. Raises Unrepresentable."""
    return Money(_scaled(text, 6, "dollar amount with at most 6 decimals"))


def price_from_cents(cents: int | Decimal) -> Price:
    """Whole cents of the legacy wire form to Price. Raises Unrepresentable."""
    whole = _scaled(cents, 0, "price in whole cents from 0 to 100")
    if not 0 <= whole <= 100:
        raise Unrepresentable("price in whole cents from 0 to 100", cents)
    return Price(whole * 100)


def size_from_count(count: int | Decimal) -> Size:
    """Whole contracts of the legacy wire form to Size; signed. Raises Unrepresentable."""
    size = _scaled(count, 0, "whole number of contracts") * CONTRACT
    if not -_INT64_MAX <= size <= _INT64_MAX:
        raise Unrepresentable("whole number of contracts", count)
    return Size(size)


def complement(price: Price) -> Price:
    """$1 - price: a NO bid seen as a YES ask, and the other way round."""
    return Price(DOLLAR - price)


def notional(price: Price, size: Size) -> Money:
    """What `size` contracts cost at `price`; exact."""
    return Money(price * size)


def format_price(price: Price) -> str:
    """Price as the venue writes it, four decimals: 5600 -> "0.5600"."""
    return _fixed(price, 4)


def format_size(size: Size) -> str:
    """Size as the venue writes it, two decimals: 1250 -> "12.50"."""
    return _fixed(size, 2)


def format_money(money: Money) -> str:
    """Money as the venue writes it, six decimals: 17100 -> "0.017100"."""
    if not money:
        return "0.000000"  # what most amounts of an order are
    return _fixed(money, 6) if money else "0.000000"  # as most amounts of most orders are


def _fixed(value: int, places: int) -> str:
    digits = str(abs(value)).zfill(places + 1)
    return f"{'-' if value < 0 else ''}{digits[:-places]}.{digits[-places:]}"
