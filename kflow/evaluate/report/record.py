"""What the figures rest on: data, what was left out, assumptions, and how to do it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from functools import partial
from typing import Any

from kflow.evaluate.report import parts, timeline, words
from kflow.evaluate.report.markup import Content, Markup, el, named
from kflow.evaluate.report.shape import Evaluation, Tape

_ORIGINS = "_origin"


def sections(told: Evaluation) -> Iterator[Markup]:
    stamp = bool(told.in_sample)
    yield parts.section("data", "Data", *_data(told), stamp=stamp)
    yield parts.section("left-out", "What was left out", *_left_out(told), stamp=stamp)
    yield parts.section("assumptions", "Assumptions", *_assumptions(told), stamp=stamp)
    yield parts.section("manifest", "Manifest", *_manifest(told), stamp=stamp)


def _data(told: Evaluation) -> list[Content]:
    data = told.data
    trades = [data.trades] if isinstance(data.trades, str) else list(data.trades)
    rows: list[tuple[str, Content]] = [
        ("events", words.count(data.events)),
        ("markets", words.count(data.markets)),
        ("with a recorded result", words.count(data.settled_markets)),
        ("episodes", words.count(data.episodes)),
        ("recorded", words.duration(data.seconds)),
        ("from", words.time(data.start)),
        ("until", words.time(data.until)),
        ("gaps", words.count(len(data.gaps))),
        ("trades", words.listed(list(dict.fromkeys(trades)), 4) or words.UNKNOWN),
    ]
    caption = (
        "Recorded books in time. Filled: the market's result is recorded; hollow: it is not, and what was held counts "
        "what it could be sold for. Orange: gaps, at which episodes end; none is bridged."
    )
    return [
        parts.facts(rows, "facts wide"),
        parts.figure(partial(timeline.draw, data), caption, "No tape says when it was recorded.", wide=parts.PAGE),
    ]


def _left_out(told: Evaluation) -> list[Content]:
    found = told.data.left_out
    if not found:
        return [parts.note("Nothing.")]
    by_why: dict[str, list[str]] = {}
    for one in found:
        by_why.setdefault(one.why or "no reason is told", []).append(one.event)
    return [
        parts.note(f"{words.counted(len(events), 'event')}, {words.plain(why)}: {words.listed(events, 12)}.")
        for why, events in by_why.items()
    ]


def _assumptions(told: Evaluation) -> list[Content]:
    plain = {key: value for key, value in told.assumptions.items() if key != "models" and not key.endswith(_ORIGINS)}
    rows: list[tuple[str, Content]] = [
        (words.name(key), [words.value(value), _origin(told.assumptions.get(key + _ORIGINS))])
        for key, value in plain.items()
    ]
    models = told.assumptions.get("models")
    return [
        parts.facts(rows, "facts wide") if rows else parts.absent("This document tells no assumptions."),
        _models(models) if isinstance(models, dict) else None,
    ]


def _origin(told: object) -> Markup | None:
    return None if told is None else el("small", f" {words.value(told)}")


def _models(models: dict[str, Any]) -> Markup:
    keys = list(dict.fromkeys(key for model in models.values() if isinstance(model, dict) for key in model))
    rows = [
        (
            [words.fills(name), el("small", f" {words.plain(name)}") if words.fills(name) != name else None],
            *(words.value(model.get(key)) if isinstance(model, dict) else words.UNKNOWN for key in keys),
        )
        for name, model in models.items()
    ]
    texts = [1 + place for place, key in enumerate(keys) if key in ("about", "calibration")]
    return parts.table("Fill models", ["fill model", *map(words.name, keys)], rows, texts=texts)


def _manifest(told: Evaluation) -> list[Content]:
    rows: list[tuple[str, Content]] = [
        ("command", el("code", shlex.join(told.command)) if told.command else words.UNKNOWN),
        ("kflow", told.kflow_version or words.UNKNOWN),
        ("commit", el("code", told.commit) if told.commit else words.UNKNOWN),
        ("made", words.time(told.created or None)),
        ("schema version", "1"),
        ("in sample", "yes" if told.in_sample else "no"),
    ]
    return [parts.facts(rows, "facts wide"), _contestants(told), _tapes(told.data.tapes)]


def _contestants(told: Evaluation) -> Markup | None:
    known = [one for one in told.contestants if one.sha256 or one.model or one.actions]
    if not known:
        return None
    head = ("contestant", "model", "actions", "sizes", "trained on events", "sha256")
    rows = [
        (
            named(one.name, 40),
            named(one.model, 40) if one.model else words.UNKNOWN,
            words.plain(one.actions) if one.actions else words.UNKNOWN,
            words.value(one.sizes),
            words.count(one.trained_on_events),
            _digest(one.sha256),
        )
        for one in known
    ]
    return parts.table("Models", head, rows, texts=(1, 2, 3, 5))


def _digest(text: str | None) -> Content:
    return words.UNKNOWN if not text else el("code", text)


def _tapes(tapes: tuple[Tape, ...]) -> Markup | None:
    if not tapes:
        return None
    rows = [
        (
            named(one.market, 44),
            named(one.source, 30) if one.source else words.UNKNOWN,
            words.UNKNOWN if one.session is None else str(one.session),
            words.moment(one.from_us),
            words.duration(one.seconds),
            words.UNKNOWN if one.stretches is None else str(one.stretches),
            words.value(one.result),
            _digest(one.digest[:16] if one.digest else None),
        )
        for one in tapes[: parts.MOST_ROWS]
    ]
    head = ("market", "source", "session", "from", "recorded", "stretches", "result", "digest begins")
    more = len(tapes) - len(rows)
    return parts.folded(
        f"The {words.counted(len(tapes), 'tape')}",
        parts.table("Tapes", head, rows, texts=(1,)),
        parts.note(f"{more:,} more, and whole digests, in the document.") if more > 0 else None,
    )
