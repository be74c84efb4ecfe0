"""docs/reasons.md: every word by which tables, metrics, alerts and answers say what happened.

What a word means is the comment behind it in the code, so that there is one place to say it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection, Mapping
from enum import Enum

from kflow.act import denials, orders, pulse, reconcile, standing
from kflow.act.alerts import Severity
from kflow.exchange import orders as venue_orders
from kflow.kalshi.feed import Ending
from kflow.market.events import GapKind, SnapshotReason
from kflow.policy.actions import REASONS as REFUSALS

_CODEC = (
    "`rl_trading_actions.refusal`. What the codec of a policy says, in training and live alike, is there in these "
    "words; [a policy](policy.md#why-an-action-is-denied) sees their numbers."
)
_GUARD = (
    "What the guard of an actor says is there by its code, which is the label of `kflow_order_denied_total` too. "
    "[Limits](limits.md#the-checks) tells in which order, and what is counted."
)
_TOLD = (
    "`key` of what `actor.webhook` and `actor.hook` are told ([the message](http.md#alerts)); `severity` says how "
    "soon a person should look."
)
# What an actor tells people of, by the keys of pulse.TOLD.
ALERTS = {
    "halted": "nothing may leave, in any market; the text says who or what halted it",
    "lease": "another actor may trade at this venue, or the database that says so is away",
    "loop": "no market was looked at",
    "reducing": "only what makes a position smaller may leave",
    "markets": "a single market is halted or reducing",
    "reconciliation": "orders, fills and cash could not be compared with the venue's",
    "orders": "of an order it is not known whether it is at the venue",
    "records": "the database does not take orders: none is sent",
    "feed": "there is no connection to the venue's feed",
    "decisions": "decisions are missing in the tables",
}


def page(made: str) -> str:
    """The whole page; `made` says that it is not written by hand."""
    return (
        "\n\n".join(["# Reasons, kinds and states", made, *_of_recording(), *_of_trading(), *_of_the_exchange()]) + "\n"
    )


def meanings(words: type[Enum]) -> dict[str, str]:
    """Each value of an enumeration, and the comment behind it. A member without a comment has an empty one."""
    source = inspect.getsource(words)
    behind = dict(re.findall(r"^    ([A-Z_]+) = [^#\n]*(?:#(?: noqa:[^-\n]*-)? *(.*))?$", source, re.MULTILINE))
    return {str(member.value): behind[member.name] for member in words}


def _of_recording() -> list[str]:
    return [
        "## Gaps",
        "`rl_gaps.kind`, and the label of `kflow_book_gaps_total`. Whatever was missing, extra or not to be trusted.",
        _table("kind", meanings(GapKind)),
        "## Snapshots",
        "`rl_orderbook_snapshots.reason`: why a whole book came.",
        _table("reason", meanings(SnapshotReason)),
        "## Connections that ended",
        "The label `reason` of `kflow_ws_reconnects_total`; `rl_connections.reason` says it in words.",
        _table("reason", meanings(Ending)),
    ]


def _of_trading() -> list[str]:
    meaning, kinds = meanings(orders.State), meanings(reconcile.Kind)
    steps = {state.value: (meaning[state.value], _listed(orders.STEPS[state])) for state in orders.State}
    differences = {kind.value: (kinds[kind.value], _follows(kind)) for kind in reconcile.Kind}
    told = {
        key: (ALERTS[key], str(severity), f"after {patience_s:g} s" if patience_s else "at once")
        for key, (severity, patience_s) in pulse.TOLD.items()
    }
    return [
        "## Why an action has no order",
        _CODEC,
        "\n".join(f"- {text}" for text in REFUSALS.values()),
        _GUARD,
        _table("code", {str(reason): reason.about for reason in denials.Reason}),
        "## States of an order",
        "`rl_orders.status`, and the label of `kflow_orders_total`.",
        _table("state", steps, "meaning", "then"),
        "## Differences from the venue",
        "What comparing with the venue may find. A market that halts waits for a person: `kflow actor arm`.",
        _table("kind", differences, "meaning", "what follows"),
        "## What may be done",
        "`kflow actor status`, and the label of `kflow_trading_state`.",
        _table("standing", meanings(standing.Standing)),
        "## Alerts",
        _TOLD,
        _table("key", told, "what is wrong", "severity", "told"),
        _table("severity", meanings(Severity), "look"),
    ]


def _of_the_exchange() -> list[str]:
    return [
        "## Orders at the local exchange",
        "`last_update_reason` of an order, in the venue's words, and why an order never took effect.",
        _table("reason", {value or "(empty)": text for value, text in meanings(venue_orders.Reason).items()}),
        _table("refusal", meanings(venue_orders.Kill)),
        "Faults that can be told to happen: [the local exchange](local-exchange.md#faults).",
    ]


def _listed(states: Collection[orders.State]) -> str:
    return ", ".join(f"`{state}`" for state in orders.State if state in states)


def _follows(kind: reconcile.Kind) -> str:
    said = ["its order is cancelled"] * (kind in reconcile.CANCELLED) + ["the market halts"] * (
        kind in reconcile.HALTING
    )
    return ", ".join(said)


def _table(first: str, rows: Mapping[str, str | tuple[str, ...]], *others: str) -> str:
    titles = others or ("meaning",)
    lines = [f"| {first} | {' | '.join(titles)} |", "|---" * (1 + len(titles)) + "|"]
    for word, texts in rows.items():
        cells = (texts,) if isinstance(texts, str) else texts
        lines.append(f"| `{word}` | {' | '.join(cells)} |")
    return "\n".join(lines)
