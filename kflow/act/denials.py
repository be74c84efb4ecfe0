"""Why orders are denied: every reason, in the order in which the guard looks, and how often each was met."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import Final, NamedTuple

from kflow.act.limits import RULES, Limits


class Reason(StrEnum):
    """Why an order is denied, in the order of the checks; `limits` are the attributes of `Limits` that it looks at."""

    about: str
    limits: tuple[str, ...]

    def __new__(cls, code: str, about: str, *limits: str) -> Reason:
        member = str.__new__(cls, code)
        member._value_, member.about, member.limits = code, about, limits
        return member

    HALTED = "halted", "the actor is halted, or the market is"
    REDUCING = "reducing", "only what makes a position smaller may leave, and this does not, or does more"
    MARKET_CLOSED = "market_closed", "the market or the venue does not trade"
    FROZEN = "frozen", "what became of another order of the market is not known yet"
    CLOSING = "closing", "too near to the market's close", "close_us"
    BOOK_INVALID = "book_invalid", "the book is not whole"
    BOOK_OLD = "book_old", "the book was not heard of for too long", "book_us"
    BOOK_CROSSED = "book_crossed", "the best bid is not below the best ask"
    OBSERVATION = "observation", "what was decided on is not finite"
    OBSERVATION_OLD = "observation_old", "what was decided on is too old", "book_us"
    MODEL = "model", "the model is not the one that was verified"
    SIZE = "size", "larger than an order may be, or of no size", "order_size"
    COST = "cost", "it could cost more than an order may", "order_cost"
    PRICE = "price", "no price between $0 and $1"
    TICK = "tick", "no price of the market's grid"
    COLLAR = "collar", "too far from the middle of the book, or from the last trade where a side is empty", "collar"
    CROSSING = "crossing", "too far beyond the other side's best", "cross"
    EXPIRY = "expiry", "it rests and does not end by itself soon enough, or is immediate and has an end", "order_us"
    NOTHING_TO_CLOSE = "nothing_to_close", "reduce-only, and there is less to close"
    POSITION = "position", "the position could become larger than it may be", "market_size"
    MARKET_RISK = "market_risk", "more could be lost in the market", "market_risk"
    EVENT_RISK = "event_risk", "more could be lost in the event", "event_risk"
    TOTAL_RISK = "total_risk", "more could be lost in all", "total_risk"
    CASH = "cash", "free cash does not cover the worst case and its fees"
    OPEN_ORDERS = "open_orders", "as many orders are open in the market as may be", "market_orders"
    ALL_ORDERS = "all_orders", "as many orders are open in all as may be", "total_orders"
    DUPLICATE = "duplicate", "the same side, price and size left a moment ago", "duplicate_us"
    OWN_ORDER = "own_order", "it would meet an open order of our own"
    THROTTLE = "throttle", "too soon after the market's last order", "throttle_us"
    BUCKET = "bucket", "too many orders lately", "orders_per_minute", "burst"
    FILLS = "fills", "too many fills in the last minute", "fills_per_minute"
    DAILY_LOSS = "daily_loss", "too much was lost today", "daily_loss"
    DRAWDOWN = "drawdown", "too far below the day's best result", "drawdown"
    LIMITS = "limits", "it carries the hash of other limits than these"
    LEASE = "lease", "the lease is lost, or it was decided under another"


class Denial(NamedTuple):
    """An order does not leave. `unknown`: not because the check failed, but because a fact of it is missing."""

    reason: Reason
    unknown: bool = False

    def __str__(self) -> str:
        return f"{self.reason}: {self.reason.about}" + (" (a fact is missing)" if self.unknown else "")


class Counters:
    """How many orders passed, and how many were denied, by reason."""

    def __init__(self) -> None:
        self.passed = 0
        self.denied: Final[Counter[Reason]] = Counter()

    def count(self, denial: Denial | None) -> None:
        """After a check."""
        if denial is None:
            self.passed += 1
        else:
            self.denied[denial.reason] += 1

    def by_reason(self) -> dict[str, int]:
        """Denied orders by every reason there is, in their order."""
        return {str(reason): self.denied[reason] for reason in Reason}


def tables() -> str:
    """The limits and the checks as docs/limits.md shows them."""
    found = ["| limit | what | takes | default | reason |", "|---|---|---|---|---|"]
    for name, rule in RULES.items():
        codes = ", ".join(f"`{reason}`" for reason in Reason if name in reason.limits)
        shown = rule.shown(Limits().values[name])
        found.append(f"| `{rule.key}` | {rule.about} | {rule.takes} | {shown} | {codes} |")
    found += ["", "| | reason | an order is denied because | limit |", "|---|---|---|---|"]
    for number, reason in enumerate(Reason, 1):
        keys = ", ".join(f"`{RULES[name].key}`" for name in reason.limits)
        found.append(f"| {number} | `{reason}` | {reason.about} | {keys} |")
    return "\n".join(found) + "\n"
