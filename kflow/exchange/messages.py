"""What the venue says of its markets, before a socket gives it a sid and a seq: bodies, and how they are written.

Bodies are JSON text made with f-strings: one is written per change and then stamped for every subscriber, which is
several times as cheap as encoding objects. Prices of NO levels are prices of NO; `in_yes_prices` rewrites a body for
subscribers who asked for `use_yes_price`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import msgspec

from kflow.market.events import Level, Side
from kflow.units import CONTRACT, DOLLAR, Price, format_price

ORDERBOOK: Final = "orderbook_delta"
TRADE: Final = "trade"
TICKER: Final = "ticker"
LIFECYCLE: Final = "market_lifecycle_v2"

SNAPSHOT_TYPE: Final = "orderbook_snapshot"
DELTA_TYPE: Final = "orderbook_delta"

FILL: Final = "fill"
USER_ORDERS: Final = "user_orders"
MARKET_POSITIONS: Final = "market_positions"
ORDER_GROUPS: Final = "order_group_updates"

# Channels whose frames carry no seq (protocol section 3.5).
UNSEQUENCED: Final = frozenset({TICKER, FILL, USER_ORDERS, MARKET_POSITIONS})
# Channels on which each user sees only what is theirs.
PRIVATE: Final = frozenset({FILL, USER_ORDERS, MARKET_POSITIONS, ORDER_GROUPS})
CHANNELS: Final = frozenset(
    {
        ORDERBOOK,
        TRADE,
        TICKER,
        LIFECYCLE,
        FILL,
        USER_ORDERS,
        MARKET_POSITIONS,
        "multivariate_market_lifecycle",
        ORDER_GROUPS,
        "communications",
        "cfbenchmarks_value",
        "cfbenchmarks_value_5hz",
        "pyth_value",
    }
)
# Channels that never filter by market.
UNFILTERED: Final = frozenset({LIFECYCLE, "multivariate_market_lifecycle", ORDER_GROUPS, "communications"})


class Message(msgspec.Struct, frozen=True, gc=False):
    """One thing the venue reports. What follows `body` repeats parts of it for the venue's own books."""

    channel: str
    kind: str  # the envelope's type
    market: str
    body: str  # JSON of the envelope's msg
    venue_us: int = 0  # exchange time, µs since 1970
    side: int = -1  # Side of a delta; the taker's side of a trade
    price: int = 0  # of a delta's level; the YES price of a trade
    change: int = 0  # of a delta, signed; the size of a trade
    levels: tuple[tuple[Level, ...], tuple[Level, ...]] | None = None  # of a snapshot, indexed by Side
    step: int = 1  # how far it moves seq: other than 1 only where a recording has a hole
    # The user it concerns: a message of a private channel goes to that user's sockets only; an order book message goes
    # to all, but theirs get `own_body`.
    account: str = ""
    subaccount: int = 0  # which of that user's
    own_body: str = ""
    # It tells of what the venue did already: going out, late perhaps, it changes nothing.
    done: bool = False


@dataclass(frozen=True, slots=True)
class Style:
    """How bodies are written."""

    empty_side: Literal["omit", "list"] = "omit"  # of a snapshot: no key, as the venue does, or an empty array
    legacy: bool = False  # add the integer cents and counts that the venue retired in March 2026


PLAIN: Final = Style()


@lru_cache(maxsize=1)
def price_texts() -> tuple[str, ...]:
    """Every price as the venue writes it, indexed by Price."""
    return tuple([format_price(Price(value)) for value in range(DOLLAR + 1)])


def size_text(size: int) -> str:
    """`format_size` for the hot path."""
    if size < 0:
        return f"-{-size // CONTRACT}.{-size % CONTRACT:02d}"
    return f"{size // CONTRACT}.{size % CONTRACT:02d}"


def snapshot_body(
    market: str,
    market_id: str,
    levels: tuple[Sequence[Level], Sequence[Level]],
    *,
    style: Style = PLAIN,
    yes_prices: bool = False,
) -> str:
    """A whole book. With `yes_prices` the NO side is written as YES asks, still ascending by what is written."""
    yes, no = levels
    if yes_prices:
        no = [(Price(DOLLAR - price), size) for price, size in reversed(no)]
    parts = [f'{{"market_ticker":"{market}","market_id":"{market_id}"']
    for name, side in (("yes", yes), ("no", no)):
        if side or style.empty_side == "list":
            parts.append(f',"{name}_dollars_fp":{_level_texts(side)}')
        if style.legacy and side:
            cents = ",".join([f"[{price // 100},{size // CONTRACT}]" for price, size in side])
            parts.append(f',"{name}":[{cents}]')
    parts.append("}")
    return "".join(parts)


def _level_texts(levels: Sequence[Level]) -> str:
    texts = price_texts()
    return "[" + ",".join([f'["{texts[price]}","{size_text(size)}"]' for price, size in levels]) + "]"


def book_arrays(levels: Sequence[Level]) -> list[list[str]]:
    """Levels as REST writes them."""
    texts = price_texts()
    return [[texts[price], size_text(size)] for price, size in levels]


def delta_suffix(venue_us: int, stamp: str) -> str:
    """What ends every delta of one exchange-µs group. `stamp` is its RFC 3339 form."""
    return f'","ts":"{stamp}","ts_ms":{venue_us // 1000}}}'


def delta_body(prefix: str, side: int, price_text: str, change: int, suffix: str) -> str:
    """One level's change. `prefix` is the market's (`delta_prefix`), `suffix` the group's (`delta_suffix`)."""
    return f'{prefix}{price_text}","delta_fp":"{size_text(change)}","side":"{"no" if side else "yes"}{suffix}'


def delta_prefix(market: str, market_id: str) -> str:
    return f'{{"market_ticker":"{market}","market_id":"{market_id}","price_dollars":"'


def legacy_delta(body: str, price: int, change: int) -> str:
    """The same with the retired cents and count beside the strings."""
    return f'{body[:-1]},"price":{price // 100},"delta":{int(change / CONTRACT)}}}'


def trade_body(market: str, trade_id: str, yes_price: int, size: int, taker: int, venue_us: int) -> str:
    texts = price_texts()
    side, book_side = ("no", "ask") if taker == Side.NO else ("yes", "bid")
    return (
        f'{{"trade_id":"{trade_id}","market_ticker":"{market}","yes_price_dollars":"{texts[yes_price]}",'
        f'"no_price_dollars":"{texts[DOLLAR - yes_price]}","count_fp":"{size_text(size)}","taker_side":"{side}",'
        f'"taker_outcome_side":"{side}","taker_book_side":"{book_side}","is_block_trade":false,'
        f'"ts":{venue_us // 1_000_000},"ts_ms":{venue_us // 1000}}}'
    )


_PRICE_FIELD: Final = re.compile(r'"price_dollars":"[^"]*"')


def in_yes_prices(message: Message, market_id: str, style: Style = PLAIN) -> str:
    """The body of an order book message for a subscriber with `use_yes_price`: NO levels at YES prices."""
    if message.levels is not None:
        return snapshot_body(message.market, market_id, message.levels, style=style, yes_prices=True)
    if message.side != Side.NO:
        return message.body
    yes_price = price_texts()[DOLLAR - message.price]
    return _PRICE_FIELD.sub(f'"price_dollars":"{yes_price}"', message.body, count=1)
