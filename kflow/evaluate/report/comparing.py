"""Two evaluations beside each other: what they assume otherwise, and profit on the events that both have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kflow.evaluate.report import words
from kflow.evaluate.report.shape import Evaluation, Result, parse

F64 = NDArray[np.float64]

SCHEMA_VERSION: Final = 1
# Shared events from which an interval and a p-value can be told at all.
FEWEST: Final = 5
LEVEL: Final = 0.95
_DRAWS: Final = 5_000


def compare(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    """Both documents side by side; differences are always b less a. Raises DataError for what is no evaluation.

    assumptions: [{name, a, b}], only those that differ. same_data: shared markets were recorded alike, by their
    digests; null where none tells. pairs: [{a, b, fill_model, same_model, verdict_a, verdict_b, events, difference,
    low, high, p, words, by_event: [{event, a, b, difference}]}], dollars per shared event.
    """
    one, two = parse(a, "the first document"), parse(b, "the second document")
    events = [{event.event for result in told.results for event in result.events} for told in (one, two)]
    pairs = [_pair(one, two, *names, model) for names in _names(one, two) for model in _models(one, two)]
    found = [pair for pair in pairs if pair is not None]
    shared = len(events[0] & events[1])
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "comparison",
        "a": _about(one),
        "b": _about(two),
        "in_sample": bool(one.in_sample or two.in_sample),
        "level": LEVEL,
        "assumptions": list(_differing(one.assumptions, two.assumptions)),
        "same_data": _same_data(one, two),
        "shared_events": shared,
        "only_a": sorted(events[0] - events[1]),
        "only_b": sorted(events[1] - events[0]),
        "pairs": found,
        "sentence": _sentence(found),
    }


def _about(told: Evaluation) -> dict[str, Any]:
    return {
        "name": told.name,
        "created": told.created,
        "commit": told.commit,
        "in_sample": bool(told.in_sample),
        "judged": list(told.judged),
        "events": told.data.events,
        "variants": told.variants,
        "sentence": told.sentence,
    }


def _differing(a: Mapping[str, Any], b: Mapping[str, Any], within: str = "") -> Iterator[dict[str, Any]]:
    """What is assumed otherwise, down to single values."""
    for key in dict.fromkeys((*a, *b)):
        here, there = a.get(key), b.get(key)
        name = f"{within}{key}"
        if isinstance(here, Mapping) and isinstance(there, Mapping):
            yield from _differing(here, there, f"{name}.")
        elif here != there:
            yield {"name": name, "a": here, "b": there}


def _same_data(one: Evaluation, two: Evaluation) -> bool | None:
    digests = [{(tape.market, tape.from_us): tape.digest for tape in told.data.tapes} for told in (one, two)]
    both = [(digests[0][key], digests[1][key]) for key in digests[0].keys() & digests[1].keys()]
    known = [first == second for first, second in both if first and second]
    return all(known) if known else None


def _names(one: Evaluation, two: Evaluation) -> list[tuple[str, str]]:
    """Who stands against whom: the same name, and of those judged that have none the same place."""
    have = [{result.contestant for result in told.results} for told in (one, two)]
    rest = (
        [name for name in one.judged if name in have[0] and name not in have[1]],
        [name for name in two.judged if name in have[1] and name not in have[0]],
    )
    same = [(name, name) for name in one.names if name in have[0] and name in have[1]]
    judged = [pair for pair in same if pair[0] in one.judged or pair[0] in two.judged]
    others = [pair for pair in same if pair not in judged]
    return [*judged, *zip(*rest, strict=False), *others]


def _models(one: Evaluation, two: Evaluation) -> list[str]:
    """Fill models that both played, the middle first."""
    names = [name for name in words.FILL_WORDS if name == one.middle]
    played = [{result.fill_model for result in told.results} for told in (one, two)]
    return list(
        dict.fromkeys(name for name in (*names, *words.FILL_WORDS, *sorted(played[0])) if name in played[0] & played[1])
    )


def _pair(one: Evaluation, two: Evaluation, name: str, other: str, model: str) -> dict[str, Any] | None:
    mine, theirs = one.result(name, model), two.result(other, model)
    if mine is None or theirs is None:
        return None
    profits = [{event.event: event.profit for event in result.events} for result in (mine, theirs)]
    by_event = [
        {"event": event, "a": first, "b": second, "difference": second - first}
        for event, first in profits[0].items()
        if first is not None and (second := profits[1].get(event)) is not None
    ]
    known = np.array([pair["difference"] for pair in by_event], np.float64)
    mean, low, high, p = paired(known)
    digests = [
        next((who.sha256 for who in told.contestants if who.name == called), None)
        for told, called in ((one, name), (two, other))
    ]
    return {
        "a": name,
        "b": other,
        "fill_model": model,
        "judged": name in one.judged or other in two.judged,
        "same_model": None if None in digests else digests[0] == digests[1],
        "verdict_a": _verdict(mine),
        "verdict_b": _verdict(theirs),
        "events": len(by_event),
        "difference": mean,
        "low": low,
        "high": high,
        "p": p,
        "words": _words(len(by_event), mean, p),
        "by_event": by_event,
    }


def _verdict(result: Result) -> dict[str, Any]:
    return {
        "per_event": result.profit.per_event,
        "low": result.profit.low,
        "high": result.profit.high,
        "p": result.verdict.p,
        "p_deflated": result.verdict.p_deflated,
        "distinguishable": result.verdict.distinguishable,
        "events": result.verdict.events,
        "words": result.verdict.words,
    }


def paired(differences: F64) -> tuple[float | None, float | None, float | None, float | None]:
    """Mean of paired differences [n], the ends of its interval, and a two-sided p of no difference.

    The interval is Student's bootstrap (Efron and Tibshirani 1993, 12.5); p is of random signs (Fisher 1935), which
    supposes that without a difference both signs are as likely. Fewer than FEWEST pairs tell only the mean.
    """
    count = len(differences)
    if not count:
        return None, None, None, None
    mean = float(differences.mean())
    if count < FEWEST:
        return mean, None, None, None
    if not differences.any():
        return 0.0, 0.0, 0.0, 1.0
    rng = np.random.default_rng(0)
    error = differences.std(ddof=1) / np.sqrt(count)
    # In parts, since 400 events of 5,000 draws at once are 16 MB each.
    studentised, flipped = [], 0
    for _ in range(10):
        drawn = differences[rng.integers(0, count, (_DRAWS // 10, count))]
        spread = drawn.std(axis=1, ddof=1) / np.sqrt(count)
        whole = spread > 0
        studentised.append((drawn.mean(axis=1)[whole] - mean) / spread[whole])
        signs = rng.integers(0, 2, (_DRAWS // 10, count)) * 2 - 1
        flipped += int((np.abs((signs * differences).mean(axis=1)) >= abs(mean) * (1 - 1e-12)).sum())
    tails = (1 - LEVEL) / 2
    drawn_t = np.concatenate(studentised)
    ends = np.quantile(drawn_t, [1 - tails, tails]) if len(drawn_t) else np.zeros(2)
    return mean, float(mean - ends[0] * error), float(mean - ends[1] * error), (flipped + 1) / (_DRAWS + 1)


def _words(events: int, mean: float | None, p: float | None) -> str:
    if mean is None:
        return "no event is in both"
    if p is None:
        return f"{words.counted(events, 'shared event')}; {FEWEST} are needed to tell a difference"
    if p > 1 - LEVEL:
        return "not distinguishable"
    return f"the second earns {'more' if mean > 0 else 'less'}"


def _sentence(pairs: Sequence[Mapping[str, Any]]) -> str:
    first = next((pair for pair in pairs if pair["judged"]), None)
    if first is None:
        return "The two evaluations judge nobody under the same fill model."
    if first["difference"] is None:
        return "The two evaluations share no event, so their profits cannot be set against each other."
    names = [words.short(first[side], 40) for side in ("b", "a")]
    who = names[0] if first["a"] == first["b"] else f"{names[0]} against {names[1]}"
    told = words.dollars(first["difference"], sign=True)
    events = words.counted(first["events"], "shared event")
    return f"{who}, {words.fills(first['fill_model'])} fills: {told} per event on {events}; {first['words']}."
