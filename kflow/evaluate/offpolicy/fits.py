"""Whether a model and a log belong together: what actions and features mean, and what the model has seen already."""

from __future__ import annotations

import numpy as np

from kflow.errors import ModelError, UsageError
from kflow.evaluate.offpolicy.log import Log, Traded
from kflow.evaluate.splits import EMBARGO_US
from kflow.policy import bundle
from kflow.policy.bundle import Seen


def check_fits(log: Log, card: bundle.Card) -> None:
    """Raises ModelError where a model's actions or features do not mean what the log's do."""
    ours, theirs = card.actions, log.card.actions
    name = f"{card.name}:{card.version}"
    if ours != theirs:
        raise ModelError(
            f"{name} acts by {_told(ours)}, the log by {_told(theirs)}",
            hint="take a log of the same --actions and sizes",
        )
    if card.features != log.card.features:
        raise ModelError(
            f"{name} sees features of schema {card.features.schema}, the log holds {log.card.features.schema}",
            hint="write a log with this kflow, and train with it",
        )
    if card.decision_interval_us != log.card.every_us:
        raise ModelError(
            f"{name} decides every {card.decision_interval_us / 1e6:g} s, the log every {log.card.every_us / 1e6:g} s",
            hint="take a log of the same --every",
        )


def check_unseen(log: Log, card: bundle.Card) -> None:
    """Raises UsageError where the model was trained on a market of the log."""
    known = [market.market for market in log.card.markets if any(_same(market, seen) for seen in card.trained_on)]
    if known:
        raise UsageError(
            f"{card.name}:{card.version} was trained on {known[0]}, which the log is of",
            hint="take a log of other sessions; --in-sample does it all the same, and says so",
        )


def _same(market: Traded, seen: Seen) -> bool:
    """Local exchanges name their markets again; numbers of sessions begin anew with each database."""
    if market.digest == seen.digest:
        return True
    return market.market == seen.market and market.session == seen.session and not _made_up(seen)


def apart(log: Log, card: bundle.Card, embargo_us: int = EMBARGO_US) -> Log:
    """Without episodes that went on while the model was trained on anything, an embargo before and behind.

    What moves two markets at once would be known. Made-up worlds all begin at one moment, and know nothing of each
    other. Raises UsageError where nothing is left.
    """
    e, every_us = log.episodes, log.card.every_us
    start = e.start_us + e.first * every_us
    end = start + e.steps * every_us
    times = [(seen.from_us, seen.until_us) for seen in card.trained_on if not _made_up(seen)]
    near = np.zeros(len(start), np.bool_)
    for begun, until in times:
        if begun is not None and until is not None:
            near |= (start < until + embargo_us) & (begun - embargo_us < end)
    if near.all():
        raise UsageError(
            f"all of the log is within {embargo_us / 60e6:g} min of what {card.name}:{card.version} was trained on",
            hint="take a log of other times; --in-sample does it all the same, and says so",
        )
    return log.only(~near)


def _made_up(seen: Seen) -> bool:
    return seen.source.startswith("world ")


def _told(actions: bundle.Actions) -> str:
    sizes = ", ".join(f"{size / 100:g}" for size in actions.sizes_e2)
    return f"{actions.name} of {sizes} contracts"
