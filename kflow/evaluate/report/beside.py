"""A comparison of two evaluations for eyes: as a page and as Markdown. What they assume otherwise stands first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from kflow.evaluate.report import money, page, parts, text, verdict, words
from kflow.evaluate.report.markup import Content, Markup, el, named
from kflow.evaluate.report.shape import Event

_MOST_EVENTS: Final = 40
_PAIRS: Final = ("a", "b", "fills", "events", "b less a, $", "interval", "p", "in words")
_VERDICTS: Final = (
    "contestant",
    "fills",
    "a, $ per event",
    "a's interval",
    "a's p",
    "b, $ per event",
    "b's interval",
    "b's p",
)
_NOTE: Final = (
    "Differences are b less a, of events that both played, in dollars per event; p is two-sided, by random signs, and "
    "not corrected for the number of rows."
)


def html(found: Mapping[str, Any]) -> str:
    """One self-contained page."""
    one, two = found["a"], found["b"]
    head = el(
        "header",
        el("p", "kflow, two evaluations compared", class_="kicker"),
        el("h1", "a: ", named(one["name"], 100), el("br"), "b: ", named(two["name"], 100)),
        el("p", verdict.IN_SAMPLE, class_="stamp") if found["in_sample"] else None,
        verdict.sentence(found["sentence"]),
        parts.facts(
            [
                ("shared events", words.count(found["shared_events"])),
                ("only in a", words.count(len(found["only_a"]))),
                ("only in b", words.count(len(found["only_b"]))),
            ],
            "numbers",
        ),
    )
    stamp = bool(found["in_sample"])
    body = [
        parts.section("assumptions", "What they assume otherwise", *_assumptions(found), stamp=stamp),
        parts.section("differences", "Profit on the same events", *_differences(found), stamp=stamp),
        parts.section("verdicts", "Their verdicts", *_verdicts(found), stamp=stamp),
        parts.section("manifest", "What they are", _about(found), stamp=stamp),
    ]
    return page.page("Two evaluations compared", head, body)


def _assumptions(found: Mapping[str, Any]) -> list[Content]:
    rows = [[words.name(row["name"]), *(words.value(row[side]) for side in ("a", "b"))] for row in found["assumptions"]]
    warning = "The recordings of shared markets differ: other digests. Differences of profit may be of the data alone."
    return [
        parts.absent(warning) if found["same_data"] is False else None,
        parts.table("Assumptions that differ", ("assumption", "a", "b"), rows, texts=(1, 2))
        if rows
        else parts.note("Nothing: every assumption is the same."),
    ]


def _differences(found: Mapping[str, Any]) -> list[Content]:
    pairs = found["pairs"]
    rows = [
        money.Interval(
            _versus(pair), words.fills(pair["fill_model"]), pair["difference"], pair["low"], pair["high"], look
        )
        for pair in pairs
        if pair["difference"] is not None and (pair["judged"] or pair["fill_model"] == pairs[0]["fill_model"])
        for look in ("own" if pair["judged"] else "other",)
    ]
    caption = f"b less a with its {100 * found['level']:.0f} % interval; at zero they are alike."
    draw = partial(money.intervals, rows, unit="$ per shared event")
    return [
        parts.figure(
            draw, caption, "No event is in both, so profits cannot be set against each other.", wide=parts.PAGE
        ),
        parts.table("Paired differences", _PAIRS, [_pair(pair, named) for pair in pairs], texts=(1, 2, 7)),
        parts.note(_NOTE),
        *(_events(pair) for pair in pairs if pair["judged"] and len(pair["by_event"]) > 1),
    ]


def _versus(pair: Mapping[str, Any]) -> str:
    return (
        words.short(pair["a"], 24)
        if pair["a"] == pair["b"]
        else f"{words.short(pair['b'], 11)} less {words.short(pair['a'], 11)}"
    )


def _pair(pair: Mapping[str, Any], name: Any) -> list[Content]:
    return [
        name(pair["a"], 36),
        name(pair["b"], 36),
        words.fills(pair["fill_model"]),
        words.count(pair["events"]),
        words.dollars(pair["difference"], sign=True),
        words.spread(pair["low"], pair["high"]),
        words.chance(pair["p"]),
        pair["words"],
    ]


def _events(pair: Mapping[str, Any]) -> Markup:
    """Each shared event: as bars, and as a table of those that differ most."""
    rows = [Event(event=row["event"], profit=row["difference"], settled=True) for row in pair["by_event"]]
    most = sorted(pair["by_event"], key=lambda row: -abs(row["difference"]))[:_MOST_EVENTS]
    cells = [
        [named(row["event"], 44), *(words.dollars(row[key], sign=True) for key in ("a", "b", "difference"))]
        for row in most
    ]
    what = f"{_versus(pair)}, {words.fills(pair['fill_model'])} fills"
    return parts.folded(
        f"{what}: event by event",
        parts.figure(partial(money.events, rows, unit="$ per event, b less a"), what, "", wide=parts.PAGE),
        parts.table("Those that differ most", ("event", "a", "b", "b less a"), cells),
    )


def _verdicts(found: Mapping[str, Any]) -> list[Content]:
    rows = [_verdict(pair, named) for pair in found["pairs"]]
    told = [parts.facts([(side, found[side]["sentence"]) for side in ("a", "b")])]
    return [*told, parts.table("Verdicts, each on all of its own events", _VERDICTS, rows, texts=(1,))]


def _verdict(pair: Mapping[str, Any], name: Any) -> list[Content]:
    row: list[Content] = [
        name(pair["a"] if pair["a"] == pair["b"] else _versus(pair), 36),
        words.fills(pair["fill_model"]),
    ]
    for side in ("verdict_a", "verdict_b"):
        one = pair[side]
        row += [
            words.dollars(one["per_event"], sign=True),
            words.spread(one["low"], one["high"]),
            words.chance(one["p"]),
        ]
    return row


def _about(found: Mapping[str, Any]) -> Markup:
    rows = [[name, *(words.value(found[side][key]) for side in ("a", "b"))] for key, name in _KEYS]
    return parts.table("Documents", ("", "a", "b"), rows, texts=(1, 2))


_KEYS: Final = (
    ("name", "name"),
    ("judged", "judged"),
    ("events", "events"),
    ("variants", "variants tried"),
    ("in_sample", "in sample"),
    ("created", "made"),
    ("commit", "commit"),
)


def as_markdown(found: Mapping[str, Any]) -> str:
    """The same as Markdown."""
    assumed = [[words.name(row["name"]), words.value(row["a"]), words.value(row["b"])] for row in found["assumptions"]]
    pairs, verdicts = ([_texts(make(pair, words.short)) for pair in found["pairs"]] for make in (_pair, _verdict))
    about = [[name, *(words.value(found[side][key]) for side in ("a", "b"))] for key, name in _KEYS]
    differ = "The recordings of shared markets differ: other digests."
    blocks = [
        ["# Two evaluations compared"],
        [f"**{verdict.IN_SAMPLE}**"] if found["in_sample"] else [],
        [f"**{text.escaped(found['sentence'])}**"],
        ["## What they assume otherwise"],
        [f"**{differ}**"] if found["same_data"] is False else [],
        text.table(("assumption", "a", "b"), assumed, texts=(0, 1, 2)) or ["Nothing."],
        ["## Profit on the same events"],
        [f"{words.counted(found['shared_events'], 'event')} in both. {_NOTE}"],
        text.table(_PAIRS, pairs, texts=(0, 1, 2, 7)),
        ["## Their verdicts"],
        text.table(_VERDICTS, verdicts, texts=(0, 1)),
        ["## What they are"],
        text.table(("", "a", "b"), about, texts=(0, 1, 2)),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _texts(cells: Sequence[Content]) -> list[str]:
    return [cell if isinstance(cell, str) else "" for cell in cells]
