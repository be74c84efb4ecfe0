"""The report's sections on money and trading, each with a figure of every contestant that is judged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from kflow.evaluate.report import money, parts, timeline, trading, words
from kflow.evaluate.report.markup import Content, Markup, join, named
from kflow.evaluate.report.shape import Distance, Evaluation, Event, Queue, Result

# Contestants whose every detail is drawn; of more, the tables tell.
MOST_DRAWN = 3
_MOST_EVENTS = 40


def topics(told: Evaluation) -> Iterator[Markup]:
    for anchor, title, fill in (
        ("equity", "Equity and drawdown", _equity),
        ("events", "Profit by event", _events),
        ("band", "The band of fills, and queue luck", _band),
        ("fills", "Fills by distance and by queue", _fills),
        ("slippage", "Slippage and shortfall", _slippage),
        ("fees", "Fees", _fees),
        ("markouts", "Markouts", _markouts),
        ("calibration", "Calibration", _calibration),
        ("actions", "Actions", _actions),
        ("capacity", "Capacity", _capacity),
        ("inventory", "Inventory and exposure", _inventory),
    ):
        content = fill(told) or [parts.absent("Nothing was played.")]
        yield parts.section(anchor, title, *content, stamp=bool(told.in_sample))


def _drawn(told: Evaluation) -> list[tuple[str, Result]]:
    found = [(name, one) for name in told.shown if (one := told.result(name, told.middle)) is not None]
    return found[:MOST_DRAWN]


def _each(told: Evaluation, fill: Callable[[str, Result], Content]) -> list[Content]:
    """The same of each contestant, under its name where there are several."""
    found = _drawn(told)
    several = len(found) > 1
    content: list[Content] = [join([parts.of(name) if several else None, fill(name, one)]) for name, one in found]
    left = len(told.shown) - len(found)
    if left > 0:
        content.append(parts.note(f"{words.counted(left, 'more contestant')} judged: see the tables, or the document."))
    return content


def _equity(told: Evaluation) -> list[Content]:
    every = [(name, one) for name in told.names if (one := told.result(name, told.middle)) is not None]
    judged = {name: place for place, name in enumerate(told.shown)}
    lines = [
        money.Line(name, one.equity, f"c{judged[name] % 4} strong" if name in judged else "other")
        for name, one in every
        if name != "hold"
    ]
    caption = f"Every contestant, {words.fills(told.middle)} fills; hold stays at zero. {_gap_words(told)}"
    draw = partial(money.equity, lines, None, told.data)
    all_of_them = parts.figure(draw, caption, "Too few points in time to draw equity.", wide=parts.PAGE)

    def one_of(name: str, one: Result) -> Content:
        others = [
            money.Line(words.fills(model), other.equity, "faint")
            for model in dict.fromkeys(result.fill_model for result in told.results)
            if model != told.middle and (other := told.result(name, model)) is not None
        ]
        own = [money.Line(words.fills(told.middle), one.equity, "own strong"), *others]
        band = one.equity if any(value is not None for value in one.equity.low) else None
        shaded = "Shaded: 95 % of resamples of whole events. " if band else "Too few events to shade an interval. "
        drawn = partial(money.equity, own, band, told.data)
        caption = f"Equity of {words.short(name, 40)} under each fill model. {shaded}{_gap_words(told)}"
        longest = max((line.name for line in own), key=len)
        below = partial(money.drawdown, one.drawdown, one.risk.max_drawdown, told.data, reserved=longest)
        return [
            parts.figure(drawn, caption, "Too few points in time to draw equity.", wide=parts.PAGE),
            parts.figure(below, _fall(told, one), "Too few points in time to draw a drawdown.", wide=parts.PAGE),
        ]

    return [all_of_them if len(lines) > 1 else None, *_each(told, one_of)]


def _gap_words(told: Evaluation) -> str:
    amount = len(told.data.gaps)
    marks = f"Orange marks on the time axis: {words.counted(amount, 'gap')} of the recording. " if amount else ""
    times = timeline.scale(told.data, (), 0.0, parts.PAGE)
    breaks = [] if times is None else times.breaks()
    left_out = words.listed([words.duration(seconds) for _, _, seconds in breaks])
    return marks + (f"Grey: left out, nothing recorded for {left_out}." if breaks else "")


def _fall(told: Evaluation, one: Result) -> str:
    risk = one.risk
    if risk.max_drawdown is None or risk.drawdown_from is None:
        return f"Drawdown under {words.fills(told.middle)} fills: equity below its own peak."
    back = f"made good {words.time(risk.drawdown_recovered)}" if risk.drawdown_recovered else "not made good within it"
    when = f"from {words.time(risk.drawdown_from)} until {words.time(risk.drawdown_until)}, {back}"
    return (
        f"Drawdown under {words.fills(told.middle)} fills. The largest is {words.dollars(risk.max_drawdown)}, {when}."
    )


def _events(told: Evaluation) -> list[Content]:
    def one_of(name: str, one: Result) -> Content:
        known = [event for event in one.events if event.profit is not None]
        if len(known) == 1:
            only = known[0]
            told_of = f"One event, {words.short(only.event, 60)}: {words.dollars(only.profit, sign=True)}."
            return parts.absent(f"{told_of} One event says nothing about another.")
        unsettled = sum(not event.settled for event in known)
        hollow = f"Hollow: {unsettled:,} without a recorded result, valued at what they could be sold for. " * bool(
            unsettled
        )
        whisker = "Lines: from the worst to the best seed. " if len(known) <= 60 else ""
        caption = f"Profit of {words.short(name, 40)} by event, {words.fills(told.middle)} fills. {hollow}{whisker}"
        drawn = partial(money.events, one.events)
        return [parts.figure(drawn, caption, "No event's profit is known.", wide=parts.PAGE), _event_table(name, known)]

    return _each(told, one_of)


def _event_table(name: str, events: list[Event]) -> Markup | None:
    if not events:
        return None
    kept, title = events, f"The {words.counted(len(events), 'event')} of {words.short(name, 40)}"
    if len(events) > _MOST_EVENTS:
        ranked = sorted(events, key=lambda one: one.profit or 0.0)
        kept = ranked[: _MOST_EVENTS // 2] + ranked[-_MOST_EVENTS // 2 :]
        title = f"The {_MOST_EVENTS // 2} worst and the {_MOST_EVENTS // 2} best of {title.removeprefix('The ')}"
    rows = [
        (
            named(one.event, 44),
            words.moment(one.start_us),
            {True: "yes", False: "no", None: words.UNKNOWN}[one.settled],
            words.count(one.episodes),
            words.dollars(one.profit, sign=True),
            words.spread(one.low, one.high),
            words.dollars(one.fees),
            words.count(one.contracts),
        )
        for one in kept
    ]
    head = ("event", "from", "settled", "episodes", "profit", "over seeds", "fees", "contracts")
    return parts.folded(title, parts.table("mean over seeds", head, rows))


def _band(told: Evaluation) -> list[Content]:
    caption = (
        "Profit per event. Rings: pessimistic and optimistic fills; dot: calibrated. Where cancellations fall in the "
        "queue is not recorded, so that each of them is possible."
    )
    drawn = partial(money.band, told.band, told.judged)
    queue = told.assumptions.get("models")
    middle = queue.get(told.middle) if isinstance(queue, dict) else None
    calibration = middle.get("calibration") if isinstance(middle, dict) else None
    uncalibrated = "No calibration was given: what is called calibrated takes cancellations pro rata."
    head = ("contestant", "pessimistic", "calibrated", "optimistic", "queue luck", "in words")
    rows = [
        (
            named(one.contestant, 40),
            words.dollars(one.pessimistic, sign=True),
            words.dollars(one.calibrated, sign=True),
            words.dollars(one.optimistic, sign=True),
            words.share(one.queue_luck, 0),
            words.plain(one.queue_luck_words),
        )
        for one in told.band
    ]
    return [
        parts.figure(drawn, caption, "No band of fills was played.", wide=parts.PAGE),
        parts.table("$ per event under each fill model", head, rows, texts=(5,)) if rows else None,
        parts.note("Queue luck is the share of the profit that depends on the place in the queue."),
        parts.note(uncalibrated) if calibration in ("none", "") else None,
    ]


def _fills(told: Evaluation) -> list[Content]:
    def one_of(name: str, one: Result) -> Content:
        who = words.short(name, 40)
        distances = [_distance(row) for row in one.fills_by_distance]
        queues = [_queue(row) for row in one.fills_by_queue]
        by, ahead = "¢ from the own best bid", "contracts ahead when it came to rest"
        near = "Negative: better than the own best bid, inside the spread or across it; 0: at it. Pale: few orders."
        waited = [row for row in one.fills_by_queue if row.seconds_to_fill is not None]
        times = parts.facts(
            [(f"{words.between(row.low, row.high)} ahead", words.duration(row.seconds_to_fill)) for row in waited]
        )
        rested = f"No order of {who} came to rest, so none waited in a queue."
        return parts.beside(
            parts.figure(
                partial(trading.rates, distances, unit=by), near, _only(distances, by, f"{who} sent no order.")
            ),
            [
                parts.figure(
                    partial(trading.rates, queues, unit=ahead),
                    "Orders that rested, by the queue before them.",
                    _only(queues, ahead, rested),
                ),
                parts.folded("Seconds to the first fill", times) if waited else None,
            ],
        )

    return _each(told, one_of)


def _only(bins: list[trading.Bin], unit: str, none: str) -> str:
    """Of one bin a sentence says it all."""
    known = [one for one in bins if one[1] is not None]
    if len(known) != 1:
        return none
    label, rate, orders, _ = known[0]
    what = f"All of {words.counted(orders, 'order')} at {label} {unit}"
    return f"{what}: {words.share(rate)} of their contracts were filled."


def _distance(row: Distance) -> trading.Bin:
    return words.between(row.low_cents, row.high_cents), row.rate, row.orders, ""


def _queue(row: Queue) -> trading.Bin:
    return (
        words.between(row.low, row.high),
        row.rate,
        row.orders,
        f", filled after {words.duration(row.seconds_to_fill)}",
    )


def _slippage(told: Evaluation) -> list[Content]:
    def one_of(name: str, one: Result) -> Content:
        did = one.trading
        same = (
            f"Every contract of {words.short(name, 40)} slipped alike, by {words.cents(did.slippage_cents, sign=True)}."
        )
        why = (
            f"{words.short(name, 40)} was filled in nothing, so nothing slipped."
            if did.slippage_cents is None
            else same
        )
        split = did.shortfall_parts
        amounts = [
            ("execution", split.execution, "own"),
            ("opportunity", split.opportunity, "own"),
            ("fees", split.fees, "own"),
            ("shortfall", did.shortfall_cents, "other"),
        ]
        short = "Implementation shortfall in cents per contract asked for: positive is a cost."
        return parts.beside(
            parts.figure(
                partial(trading.histogram, one.slippage, did.slippage_cents),
                "Contracts by what they cost more than the touch aimed at; left of zero they cost less.",
                why,
            ),
            parts.figure(
                partial(money.bars, amounts, unit="¢ per contract asked", form="cents"),
                short,
                "The implementation shortfall is not known: nothing was asked for.",
            ),
        )

    return _each(told, one_of)


def _fees(told: Evaluation) -> list[Content]:
    def one_of(name: str, one: Result) -> Content:
        net, fees = one.profit.total, one.trading.fees
        before = None if net is None or fees is None else net + fees
        amounts = [
            ("before fees", before, "own" if (before or 0) >= 0 else "loss"),
            ("fees", None if fees is None else -fees, "other"),
            ("after fees", net, "own" if (net or 0) >= 0 else "loss"),
        ]
        drawn = partial(money.bars, amounts, unit="$ in all")
        rows: list[tuple[str, Content]] = [
            ("fees in all", words.dollars(fees)),
            ("per contract", words.cents(one.trading.fees_per_contract_cents)),
            ("by making", words.share(one.trading.maker_share)),
            ("schedule", words.value(told.assumptions.get("fees"))),
        ]
        caption = f"What {words.short(name, 40)} made before fees, and what was left."
        return parts.beside(parts.figure(drawn, caption, "Fees are not known."), parts.facts(rows))

    return _each(told, one_of)


def _markouts(told: Evaluation) -> list[Content]:
    def one_of(name: str, one: Result) -> Content:
        marks = one.trading.markouts
        head = ("after", "¢ a contract", "fills", "maker", "taker")
        rows = [
            (
                trading.after(mark),
                words.cents(mark.cents, sign=True, error=mark.error),
                words.count(mark.fills),
                words.cents(mark.maker_cents, sign=True),
                words.cents(mark.taker_cents, sign=True),
            )
            for mark in marks
        ]
        caption = "From the price paid to the own side's mid so much later; lines: ± one standard error by event."
        missing = f"{words.short(name, 40)} has no fill whose price is known later."
        return parts.beside(
            parts.figure(partial(trading.markouts, marks), caption, missing),
            parts.table("Markouts", head, rows) if rows else None,
        )

    return _each(told, one_of)


def _calibration(told: Evaluation) -> list[Content]:
    settled = told.data.settled_markets or 0
    if not settled and not any(one.belief for one in told.results):
        few = f"0 of {words.counted(told.data.markets, 'market')} have a recorded result"
        return [parts.absent(f"{few}, so nothing says whether what was bought won. A result is never guessed.")]

    def one_of(name: str, one: Result) -> Content:
        found = one.belief
        if found is None:
            if one.belief_why:
                return parts.absent(one.belief_why)
            return parts.absent(f"{words.short(name, 40)} bought nothing in the {settled:,} markets with a result.")
        rows: list[tuple[str, Content]] = [
            ("contracts in settled markets", words.count(found.contracts)),
            ("fills", words.count(found.fills)),
            ("Brier score", words.number(found.brier, 4)),
            ("of the market's mid", words.number(found.brier_market, 4)),
            ("log loss", words.number(found.log_loss, 4)),
        ]
        caption = "Price paid as a chance, against how often it won. On the dotted line prices were right."
        missing = "Too few settled markets for a reliability diagram: fewer than two prices have a result."
        drawn = partial(trading.reliability, found.bins)
        return parts.beside(parts.figure(drawn, caption, missing), parts.facts(rows))

    return _each(told, one_of)


def _actions(told: Evaluation) -> list[Content]:
    def one_of(name: str, one: Result) -> Content:
        counts = zip(one.actions.names, one.actions.counts, strict=False)
        never = [words.plain(action) for action, row in counts if not any(row)]
        caption = [
            "Share of the decisions at each mid that took an action: the stronger the colour, the more often. ",
            f"Never taken: {words.listed(never, 30)}." if never else "Every action was taken.",
        ]
        drawn = partial(trading.heat, one.actions)
        return parts.figure(drawn, caption, f"What {words.short(name, 40)} did is not known.", wide=parts.PAGE)

    return _each(told, one_of)


def _capacity(told: Evaluation) -> list[Content]:
    def one_of(name: str, _: Result) -> Content:
        rows = [row for row in told.capacity if row.contestant == name]
        head = ("times", "contracts an episode", "$ per event", "± s.e.", "¢ a contract")
        cells = [
            (
                words.value(row.scale),
                words.count(row.contracts_per_episode),
                words.dollars(row.profit_per_event, sign=True),
                words.dollars(row.error),
                words.number(row.profit_per_contract_cents, 3, sign=True),
            )
            for row in sorted(rows, key=lambda row: row.scale or 0.0)
        ]
        caption = "Profit with so many times the sizes, cash and limits; lines: ± one standard error."
        missing = f"{words.short(name, 40)} was played with one scale of sizes, so there is no curve."
        return parts.beside(
            parts.figure(partial(money.capacity, rows), caption, missing),
            parts.table("Capacity", head, cells) if cells else None,
        )

    return _each(told, one_of)


def _inventory(told: Evaluation) -> list[Content]:
    rows = [
        (
            named(name, 40),
            words.share(one.inventory.time_in_market),
            words.number(one.inventory.mean_contracts, 1, sign=True),
            words.number(one.inventory.mean_abs_contracts, 1),
            words.number(one.inventory.max_abs_contracts, 0),
            words.dollars(one.inventory.exposure_dollars),
        )
        for name in told.names
        if (one := told.result(name, told.middle)) is not None
    ]
    head = ("contestant", "time in the market", "mean, YES positive", "mean, either side", "most", "mean at risk")
    return [parts.table(f"Contracts held, {words.fills(told.middle)} fills", head, rows)] if rows else []
