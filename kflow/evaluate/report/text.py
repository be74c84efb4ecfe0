"""The report as Markdown: what is said and the tables, for a pull request or a terminal."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Final

from kflow.evaluate.report import verdict, words
from kflow.evaluate.report.shape import Evaluation, Result

_SPECIAL: Final = re.compile(r"[\\`*\[\]|#~]|(?<!\w)_|_(?!\w)")
_ENTITIES: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def escaped(text: object) -> str:
    """Text that Markdown and the HTML within it leave as it is, on one line."""
    return _SPECIAL.sub(lambda found: "\\" + found[0], words.plain(text)).translate(_ENTITIES)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, texts: Sequence[int] = (0,)) -> list[str]:
    """A table; cells are escaped here."""
    if not rows:
        return []
    rule = ["---" if place in texts else "---:" for place in range(len(head))]
    lines = [[escaped(cell) for cell in row] for row in (head, *rows)]
    return [f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:])]


def report(told: Evaluation) -> str:
    """The whole report as Markdown."""
    blocks = [
        [f"# {escaped(words.short(told.name or 'evaluation', 120))}"],
        [f"**{verdict.IN_SAMPLE}**"] if told.in_sample else [],
        [f"**{escaped(told.sentence)}**"] if told.sentence else [],
        [_basis(told)],
        _judged(told),
        ["## Contestants"],
        _contestants(told),
        _against(told),
        ["## Band of fills"],
        _band(told),
        ["## Capacity"] if told.capacity else [],
        _capacity(told),
        ["## Data"],
        _data(told),
        ["## Assumptions"],
        _assumptions(told),
        ["## Manifest"],
        _manifest(told),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _basis(told: Evaluation) -> str:
    data = told.data
    parts = [
        words.counted(data.events, "independent event"),
        words.counted(data.episodes, "episode"),
        f"{words.duration(data.seconds)} recorded",
        f"{words.count(data.settled_markets)} of {words.counted(data.markets, 'market')} with a recorded result",
        f"{words.counted(told.variants, 'variant')} tried",
    ]
    return escaped(", ".join(parts) + ".")


def _judged(told: Evaluation) -> list[str]:
    """Under every fill model, those judged."""
    found = [
        (name, model, one)
        for name in told.shown
        for model in verdict.models(told)
        if (one := told.result(name, model)) is not None
    ]
    head = ("contestant", "fills", "$ per event", verdict.level(told), "p", "p, deflated")
    rows = [
        (
            words.short(name, 40),
            words.fills(model),
            words.dollars(one.profit.per_event, sign=True),
            words.spread(one.profit.low, one.profit.high),
            words.chance(one.verdict.p),
            words.chance(one.verdict.p_deflated),
        )
        for name, model, one in found
    ]
    return table(head, rows, texts=(0, 1))


def _contestants(told: Evaluation) -> list[str]:
    found = [(name, one) for name in told.names if (one := told.result(name, told.middle)) is not None]
    head = ("contestant", "$ per event", verdict.level(told), "total", "events won", "Sharpe", "largest drawdown")
    rows = [(words.short(name, 40), *_line(one)) for name, one in found]
    whys = dict.fromkeys(one.risk.sharpe_why for _, one in found if one.risk.sharpe_why)
    lines = table((*head, "contracts an episode", "filled", "fees", "¢ a contract"), rows)
    return [*lines, *(f"\nNo Sharpe ratio: {escaped(why)}." for why in whys)]


def _line(one: Result) -> tuple[str, ...]:
    return (
        words.dollars(one.profit.per_event, sign=True),
        words.spread(one.profit.low, one.profit.high),
        words.dollars(one.profit.total, sign=True),
        words.share(one.risk.hit_rate, 0),
        words.number(one.risk.sharpe, sign=True),
        words.dollars(one.risk.max_drawdown),
        words.count(one.trading.contracts),
        words.share(one.trading.fill_rate),
        words.dollars(one.trading.fees),
        words.number(one.trading.fees_per_contract_cents),
    )


def _against(told: Evaluation) -> list[str]:
    head = ("contestant", "less", "$ per event", verdict.level(told), "p, two-sided", "in words")
    rows = [
        (
            words.short(one.contestant, 40),
            words.short(one.against, 40),
            words.dollars(one.difference, sign=True),
            words.spread(one.low, one.high),
            words.chance(one.p),
            one.words,
        )
        for one in told.comparisons
        if one.fill_model in ("", told.middle)
    ]
    return table(head, rows, texts=(0, 1, 5))


def _band(told: Evaluation) -> list[str]:
    head = ("contestant", "pessimistic", "calibrated", "optimistic", "queue luck", "in words")
    rows = [
        (
            words.short(one.contestant, 40),
            *(words.dollars(end, sign=True) for end in (one.pessimistic, one.calibrated, one.optimistic)),
            words.share(one.queue_luck, 0),
            one.queue_luck_words,
        )
        for one in told.band
    ]
    return table(head, rows, texts=(0, 5)) or ["No band of fills was played."]


def _capacity(told: Evaluation) -> list[str]:
    head = ("contestant", "times", "contracts an episode", "$ per event", "± s.e.", "¢ a contract")
    rows = [
        (
            words.short(one.contestant, 40),
            words.value(one.scale),
            words.count(one.contracts_per_episode),
            words.dollars(one.profit_per_event, sign=True),
            words.dollars(one.error),
            words.number(one.profit_per_contract_cents, 3, sign=True),
        )
        for one in told.capacity
    ]
    return table(head, rows)


def _data(told: Evaluation) -> list[str]:
    data = told.data
    trades = [data.trades] if isinstance(data.trades, str) else list(dict.fromkeys(data.trades))
    rows = [
        ("recorded", f"{words.time(data.start)} to {words.time(data.until)}, {words.duration(data.seconds)}"),
        ("gaps", words.count(len(data.gaps))),
        ("trades", words.listed(trades, 4) or words.UNKNOWN),
        *(("left out", f"{words.short(one.event, 60)}: {one.why}") for one in data.left_out),
    ]
    return table(("data", ""), rows, texts=(0, 1))


def _assumptions(told: Evaluation) -> list[str]:
    rows = [(words.name(key), words.value(value)) for key, value in told.assumptions.items()]
    return table(("assumption", "value"), rows, texts=(0, 1)) or ["This document tells no assumptions."]


def _manifest(told: Evaluation) -> list[str]:
    rows = [
        ("command", shlex.join(told.command) or words.UNKNOWN),
        ("kflow", told.kflow_version or words.UNKNOWN),
        ("commit", told.commit or words.UNKNOWN),
        ("made", words.time(told.created or None)),
        *((f"sha256 of {words.short(one.name, 40)}", one.sha256) for one in told.contestants if one.sha256),
    ]
    return table(("manifest", ""), rows, texts=(0, 1))
