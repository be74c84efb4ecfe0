"""Options of the commands that serve an exchange."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from kflow.exchange.terms import Terms


class KeyType(StrEnum):
    """Kinds of API keys."""

    RSA = "rsa"
    ED25519 = "ed25519"


class FillOrder(StrEnum):
    """Who hears first of a trade: its parties, or everybody."""

    RANDOM = "random"
    FILL = "fill"
    TRADE = "trade"


class PostOnlyCross(StrEnum):
    """What becomes of a post-only order that would cross."""

    REJECT = "reject"
    CANCEL = "cancel"


Speed = Annotated[str, typer.Option(metavar="N|max", help="How fast: times real time, or as fast as clients read.")]
Faults = Annotated[Path | None, typer.Option("--fault", metavar="SCRIPT", help="What goes wrong: kflow help faults.")]
Truth = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Keep a journal of every frame sent, and of every fault.")
]
Host = Annotated[str, typer.Option(help="Loopback address to listen on.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")]
Keys = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Where to write new private keys. Else a temporary folder.")
]
Wait = Annotated[
    bool, typer.Option("--wait/--no-wait", help="A recording waits for a subscriber; else it plays at once.")
]
UntilEnd = Annotated[bool, typer.Option("--until-end", help="End once everything has been sent and read.")]

_PANEL = "Trading"

Users = Annotated[
    int, typer.Option("--users", metavar="N", min=1, max=100, help="How many, each with a key.", rich_help_panel=_PANEL)
]
Cash = Annotated[str, typer.Option(metavar="DOLLARS", help="What each user starts with.", rich_help_panel=_PANEL)]
Tier = Annotated[
    str,
    typer.Option(metavar="TIER", help="Rate limit: basic to prestige, or none.", rich_help_panel=_PANEL),
]
Key = Annotated[KeyType, typer.Option("--key-type", help="Most clients sign with RSA only.", rich_help_panel=_PANEL)]
OrderLatency = Annotated[
    float, typer.Option(metavar="MS", min=0, help="From an order to its effect.", rich_help_panel=_PANEL)
]
FeedLatency = Annotated[
    float, typer.Option(metavar="MS", min=0, help="From an effect to the frames that tell.", rich_help_panel=_PANEL)
]
ReadLag = Annotated[
    float, typer.Option(metavar="MS", min=0, help="How old orders, fills and balances look.", rich_help_panel=_PANEL)
]
Fills = Annotated[
    FillOrder, typer.Option("--fill-order", help="What a party hears first of its trade.", rich_help_panel=_PANEL)
]
PostOnly = Annotated[
    PostOnlyCross, typer.Option("--post-only-cross", help="Refused, or accepted and canceled.", rich_help_panel=_PANEL)
]

_LONGEST_MS: Final = 86_400_000.0


def terms(
    cash: str,
    tier: str,
    latencies_ms: tuple[float, float, float],
    fills: FillOrder = FillOrder.RANDOM,
    post_only: PostOnlyCross = PostOnlyCross.REJECT,
) -> Terms:
    """The exchange's terms. `latencies_ms`: orders, feed, reads. Raises UsageError."""
    from kflow.errors import Unrepresentable, UsageError
    from kflow.exchange.terms import Terms
    from kflow.exchange.throttle import TIERS, UNLIMITED
    from kflow.units import parse_money

    try:
        money = parse_money(cash)
    except Unrepresentable:
        raise UsageError(f"--cash {cash} is no amount", hint="give dollars, for example 10000 or 99.50") from None
    if money < 0:
        raise UsageError(f"--cash {cash} is less than nothing", hint="give dollars, 0 or more")
    name = UNLIMITED if tier == "none" else tier
    if name != UNLIMITED and name not in TIERS:
        raise UsageError(f"there is no tier {tier}", hint=f"choose one of {', '.join(TIERS)}, none")
    if not max(latencies_ms) < _LONGEST_MS:
        raise UsageError(f"{max(latencies_ms):g} ms is too late for anything", hint="give a day at most")
    order_s, feed_s, read_s = [ms / 1000 for ms in latencies_ms]
    return Terms(
        cash=money,
        tier=name,
        order_latency_s=order_s,
        feed_latency_s=feed_s,
        read_lag_s=read_s,
        fill_order=fills.value,
        post_only_cross=post_only.value,
    )
