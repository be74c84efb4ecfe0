"""What a reader looks for first: the verdict, and the contestants beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from kflow.evaluate.report import money, parts, words
from kflow.evaluate.report.markup import Content, Markup, el, join, named
from kflow.evaluate.report.shape import Contestant, Evaluation, Result

IN_SAMPLE = "In sample: trained on what it is judged on. These figures say nothing about data it has not seen."
_BAND = tuple(words.FILL_WORDS)


def models(told: Evaluation) -> list[str]:
    """Fill models, from pessimistic to optimistic."""
    names = dict.fromkeys(one.fill_model for one in told.results)
    return sorted(names, key=lambda name: _BAND.index(name) if name in _BAND else len(_BAND))


def level(told: Evaluation) -> str:
    """Of the intervals, in words."""
    found = next((one.profit.level for one in told.results if one.profit.level is not None), None)
    return "interval" if found is None else f"{100 * found:.0f} % interval"


def header(told: Evaluation) -> Markup:
    data = told.data
    numbers: list[tuple[str, Content]] = [
        ("independent events", words.count(data.events)),
        ("episodes", words.count(data.episodes)),
        ("recorded", words.duration(data.seconds)),
        ("markets with a recorded result", f"{words.count(data.settled_markets)} of {words.count(data.markets)}"),
        ("variants tried", words.count(told.variants)),
    ]
    return el(
        "header",
        el("p", f"kflow evaluation, {words.time(told.created)}", class_="kicker"),
        el("h1", named(told.name or "evaluation", 120)),
        el("p", IN_SAMPLE, class_="stamp") if told.in_sample else None,
        sentence(told.sentence or "This evaluation comes to no sentence."),
        parts.facts(numbers, "numbers"),
        _judged(told),
    )


def sentence(text: str) -> Markup:
    """What it all comes to; smaller where it is of several."""
    return el("p", text, class_="sentence" if len(text) <= 170 else "sentence long")


def _judged(told: Evaluation) -> list[Markup]:
    """Each contestant judged: profit per event under every fill model, and what it means."""
    order = models(told)
    rows = [
        money.Interval(name if len(told.shown) > 1 else "", words.fills(model), *_estimate(one), f"c{place % 4}")
        for place, name in enumerate(told.shown[:6])
        for model in order
        if (one := told.result(name, model)) is not None
    ]
    who = words.listed([words.short(name, 40) for name in told.shown], 6)
    caption = [
        f"Profit per event of {who}, with its {level(told)}, under each fill model. ",
        "Zero is what hold earns: an interval that holds zero shows no edge.",
    ]
    draw = partial(money.intervals, rows, unit="$ per event, after fees")
    found = [parts.figure(draw, caption, "Nothing was played, so there is nothing to judge.", wide=parts.PAGE)]
    for name in told.shown:
        one = told.result(name, told.middle)
        if one is not None:
            found.append(_words(told, name, one))
    return found


def _estimate(one: Result) -> tuple[float | None, float | None, float | None]:
    return one.profit.per_event, one.profit.low, one.profit.high


def _words(told: Evaluation, name: str, one: Result) -> Markup:
    verdict = one.verdict
    variants = verdict.variants if verdict.variants is not None else told.variants
    why = f" ({words.plain(told.variants_why)})" if told.variants_why else ""
    tried = f"{words.counted(variants, 'variant')} tried{why}"
    told_p = (
        f"One-sided p of no edge {words.chance(verdict.p)}; deflated for {tried} {words.chance(verdict.p_deflated)}."
    )
    about = verdict.words or ("" if verdict.why else "No verdict.")
    return el(
        "p", el("strong", named(name)), f": {_ended(about)}", told_p, f" {_ended(verdict.why)}".rstrip(), class_="words"
    )


def _ended(text: str) -> str:
    text = words.plain(text).strip()
    return f"{text}{'' if text.endswith(('.', '!', '?')) else '.'} " if text else ""


def contestants(told: Evaluation) -> Markup:
    """Models and baselines: what they came to, at what risk, by what trading, and against each other."""
    found = [(name, one) for name in told.names if (one := told.result(name, told.middle)) is not None]
    if not found:
        return parts.section("contestants", "Contestants", parts.absent("Nobody was played."))
    about = {one.name: one for one in told.contestants}
    rows = [money.Interval(name, "", *_estimate(one), "own" if name in told.judged else "other") for name, one in found]
    fills = words.fills(told.middle)
    caption = f"Profit per event with its {level(told)}, {fills} fills. Baselines are grey."
    draw = partial(money.intervals, rows, unit="$ per event, after fees")
    heads = {name: _head(name, about.get(name), name in told.judged) for name, _ in found}
    return parts.section(
        "contestants",
        "Contestants",
        parts.figure(draw, caption, "No contestant's profit is known.", wide=parts.PAGE),
        _profits(found, heads, fills, level(told)),
        _against(told),
        _risks(found, heads),
        _trades(found, heads),
        _abouts(told.contestants),
        stamp=bool(told.in_sample),
    )


def _head(name: str, who: Contestant | None, judged: bool) -> Markup:
    kind = who.kind if who is not None and who.kind else "judged" if judged else "baseline"
    return join([named(name, 40), " ", el("span", kind, class_="kind own" if judged else "kind")])


Found = Sequence[tuple[str, Result]]


def _profits(found: Found, heads: dict[str, Markup], fills: str, interval: str) -> list[Markup]:
    head = ("contestant", "$ per event", interval, "total", "median event", "worst event", "best event")
    more = ("events won", "return an episode", "p", "p, deflated")
    rows = [
        (
            heads[name],
            words.dollars(one.profit.per_event, sign=True),
            words.spread(one.profit.low, one.profit.high),
            words.dollars(one.profit.total, sign=True),
            words.dollars(one.profit.median_event, sign=True),
            words.dollars(one.profit.worst_event, sign=True),
            words.dollars(one.profit.best_event, sign=True),
            words.share(one.risk.hit_rate, 0),
            words.share(one.profit.share_of_cash, 2),
            words.chance(one.verdict.p),
            words.chance(one.verdict.p_deflated),
        )
        for name, one in found
    ]
    why = [f"{name}: {text}" for name, one in found for text in (one.verdict.why, one.profit.why) if text]
    return [
        parts.table(f"Profit, {fills} fills", (*head, *more), rows),
        *_reasons([(name, one.verdict.why or one.profit.why) for name, one in found if why], "Of {}: "),
    ]


def _risks(found: Found, heads: dict[str, Markup]) -> list[Markup]:
    head = (
        "contestant",
        "Sharpe",
        "its interval",
        "deflated",
        "Sortino",
        "largest drawdown",
        "from",
        "until",
        "recovered",
    )
    rows = [
        (
            heads[name],
            words.number(one.risk.sharpe, sign=True),
            _range(one.risk.sharpe_low, one.risk.sharpe_high),
            words.chance(one.risk.deflated_sharpe),
            words.number(one.risk.sortino, sign=True),
            words.dollars(one.risk.max_drawdown),
            words.time(one.risk.drawdown_from),
            words.time(one.risk.drawdown_until),
            words.time(one.risk.drawdown_recovered),
            words.dollars(one.risk.worst_episode_fall),
            words.dollars(one.profit.seed_spread),
        )
        for name, one in found
    ]
    period = next((one.risk.sharpe_period for _, one in found if one.risk.sharpe_period), "")
    said = [f"The Sharpe ratio is {words.plain(period)}, not annualised."] if period else []
    whole = parts.table("Risk", (*head, "worst fall in an episode", "spread of seeds"), rows)
    return [
        whole,
        *_reasons([(name, one.risk.sharpe_why) for name, one in found], "No Sharpe ratio of {}: "),
        *parts.notes([*said, "Spread of seeds: standard deviation of the profit per event over seeds."]),
    ]


def _range(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return words.UNKNOWN
    return f"{words.number(low, sign=True)} to {words.number(high, sign=True)}"


def _reasons(whys: Sequence[tuple[str, str]], start: str) -> list[Markup]:
    """Each reason once, with those it is of."""
    of: dict[str, list[str]] = {}
    for name, why in whys:
        if why:
            of.setdefault(words.plain(why), []).append(words.short(name, 30))
    return [parts.note(start.format(words.listed(names, 12)), _ended(why)) for why, names in of.items()]


def _trades(found: Found, heads: dict[str, Markup]) -> list[Markup]:
    head = ("contestant", "orders", "fills", "contracts", "turnover", "filled of asked", "of resting", "by making")
    rows = [
        (
            heads[name],
            *(words.count(value) for value in (one.trading.orders, one.trading.fills, one.trading.contracts)),
            words.number(one.trading.turnover),
            words.share(one.trading.fill_rate),
            words.share(one.trading.fill_rate_resting),
            words.share(one.trading.maker_share),
            words.share(one.trading.denied_share),
        )
        for name, one in found
    ]
    whole = parts.table("Trading", (*head, "decisions denied"), rows)
    refusals = [(name, one.trading.refused) for name, one in found if one.trading.refused]
    refused = [
        (name, ", ".join(f"{why} ({words.count(n)})" for why, n in refusal.items())) for name, refusal in refusals
    ]
    said = "Orders, fills and contracts are per episode; turnover is dollars traded by cash."
    return [whole, parts.note(said), *_reasons(refused, "Refused of {}: ")]


def _against(told: Evaluation) -> Markup | None:
    """Those judged less each baseline, event by event."""
    rows = [
        (
            named(one.contestant, 30),
            named(one.against, 30),
            words.dollars(one.difference, sign=True),
            words.spread(one.low, one.high),
            words.chance(one.p),
            words.plain(one.words),
        )
        for one in told.comparisons
        if one.fill_model in ("", told.middle)
    ]
    if not rows:
        return None
    head = ("contestant", "less", "$ per event", level(told), "p, two-sided", "in words")
    return parts.table(f"Against the baselines, {words.fills(told.middle)} fills", head, rows, texts=(1, 5))


def _abouts(found: Sequence[Contestant]) -> Markup | None:
    rows: list[tuple[str, Content]] = [(words.short(one.name, 40), one.about) for one in found if one.about]
    return parts.folded("What each of them does", parts.facts(rows)) if rows else None
