"""An order's life, told: the same that the study counted, and a sentence for every moment of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kflow.cli.story import tell
from kflow.errors import UsageError
from kflow.market.fees import FeeSchedule
from kflow.sim import kernel
from kflow.sim.fills import HOME, MODELS, NO_LATENCY, Assumptions
from kflow.sim.orders import KINDS, REASONS, Moment
from kflow.sim.study import Plan, batches, study
from kflow.sim.trace import Life, trace
from kflow.testing.tapes import Shape, frozen, random_tape, tape_of
from kflow.units import Size

YES, NO = 0, 1
S = 1_000_000
BIDS, OFFERS = [(4_000, 5_000)], [(5_500, 8_000)]
TEN = Plan(size=Size(1_000), every_us=60 * S)
NUMBERS = {getattr(kernel, name): name for name in ("FILLED", "CANCELLED", "EXPIRED", "NO_CASH", "SELF_TRADE",
    "WOULD_CROSS", "OVER_SIZE", "OVER_POSITION", "NO_REST", "NO_PLACE", "SETTLED", "GONE")}  # fmt: skip


def assume(model: str = "queue") -> Assumptions:
    return Assumptions(model=MODELS[model], latency=NO_LATENCY, fees=FeeSchedule.parse("quadratic", 1))


@pytest.mark.parametrize("model", ["queue", "queue-pessimistic", "queue-optimistic", "touch", "probabilistic"])
def test_a_traced_order_lives_as_the_study_says(model: str) -> None:
    """Numbers count every order that was sent, also those for which no side quoted, which the study leaves out."""
    tape = random_tape(np.random.default_rng(4), shape=Shape(moments=150, crossing=0.03), stretches=2)
    plan, assumptions = Plan(size=Size(2_500), every_us=9 * S), replace(assume(model), latency=HOME)
    sent = [
        (start, side)
        for stretch in range(tape.stretches)
        for starts, sides in batches(*tape.span_us(stretch), plan)
        for start, side in zip(starts.tolist(), sides.tolist(), strict=True)
    ]
    orders, fills, _ = study([tape], plan, assumptions, seed=9)
    assert orders.filled.any()
    assert 50 < len(orders.size) < len(sent)
    for row, moment_and_side in enumerate(zip(orders.sent_us.tolist(), orders.side.tolist(), strict=True)):
        life = trace([tape], plan, lambda _: assumptions, sent.index(moment_and_side), seed=9)
        assert (life.sent_us, life.side, life.size) == (*moment_and_side, 2_500)
        own = fills.order == row
        columns = (fills.us, fills.price, fills.size, fills.maker)
        assert list(zip(*(column[own].tolist() for column in columns), strict=True)) == [
            (m.us - life.sent_us, m.price, m.size, m.kind == "filled")
            for m in life.moments
            if m.kind in ("took", "filled")
        ]
        assert next((m.ahead for m in life.moments if m.kind == "rests"), -1) == orders.ahead[row]
        assert sum(m.fee for m in life.moments) == orders.fees[row]


def test_what_was_ahead_goes_by_trades_and_cancellations_step_by_step() -> None:
    changes = [
        (1 * S, YES, 100, 0, 0),
        (2 * S, YES, 4_000, 5_000, 0),
        (3 * S, YES, 4_000, -2_000, 2_000),
        (4 * S, YES, 4_000, -800, 0),
        (5 * S, YES, 4_000, -2_999, 2_999),
        (6 * S, YES, 4_000, -1, 1),
        (70 * S, YES, 100, 0, 0),
    ]
    life = trace([tape_of(BIDS, OFFERS, changes)], TEN, lambda _: assume(), 0)
    assert (life.market, life.best_bid, life.best_ask) == ("MADE", 4_000, 4_500)
    # 50 are ahead; 20 are traded; of the 8 withdrawn at 30 of 80, 3 were ahead.
    assert [(m.us // S, m.kind, m.size, m.ahead, m.left) for m in life.moments] == [
        (1, "sent", 1_000, 0, 1_000),
        (1, "rests", 1_000, 5_000, 1_000),
        (3, "traded ahead", 2_000, 3_000, 1_000),
        (4, "cancelled ahead", 300, 2_700, 1_000),
        (5, "filled", 299, 0, 701),
        (5, "traded ahead", 2_700, 0, 701),
        (6, "filled", 1, 0, 700),
    ]
    assert life.until_us == 61 * S


def test_an_order_may_live_through_more_moments_than_are_expected() -> None:
    trades = [(2 * S + n, YES, 4_000, -10, 10) for n in range(300)]
    changes = [(1 * S, YES, 100, 0, 0), *trades, (70 * S, YES, 100, 0, 0)]
    life = trace([tape_of(BIDS, OFFERS, changes)], TEN, lambda _: assume(), 0)
    assert [m.kind for m in life.moments] == ["sent", "rests", *["traded ahead"] * 300]
    assert life.moments[-1].ahead == 2_000


def test_an_order_to_buy_no_is_told_in_its_own_prices() -> None:
    life = trace([frozen(BIDS, OFFERS, 3)], Plan(size=Size(1_000), where="cross"), lambda _: assume(), 1)
    assert life.side == NO
    assert [(m.kind, m.price, m.size) for m in life.moments][1:] == [("took", 6_000, 1_000), ("ended", 6_000, 0)]
    assert life.moments[-1].reason == "filled"


def test_an_order_number_that_is_not_there_is_misuse() -> None:
    with pytest.raises(UsageError, match="there is no order 4: the study sends 4") as refused:
        trace([frozen(BIDS, OFFERS, 3)], Plan(size=Size(1)), lambda _: assume(), 4)
    assert refused.value.hint == "orders are numbered from 0"
    assert trace([frozen(BIDS, OFFERS, 3)], Plan(size=Size(1)), lambda _: assume(), 3).sent_us == 2 * S


def test_an_order_number_below_nothing_is_misuse() -> None:
    with pytest.raises(UsageError):
        trace([frozen(BIDS, OFFERS, 3)], Plan(size=Size(1)), lambda _: assume(), -1)


# In words.


def life_of(*moments: Moment, size: int = 1_000) -> Life:
    return Life("MADE", 3, 1_700_000_000 * S, YES, size, 4_000, 4_500, list(moments), 1_700_000_060 * S)


def moment(kind: str, **fields: int | str) -> Moment:
    usual: dict[str, int | str] = {
        "us": 1_700_000_001_500_000, "order": 3, "price": 4_000, "size": 250, "ahead": 1_200, "left": 750,
        "fee": 4_300, "reason": "",
    }  # fmt: skip
    return Moment(kind=kind, **{**usual, **fields})  # type: ignore[arg-type]


WORDS = {
    "sent": "sent at 0.4000",
    "rests": "reaches the book and rests at 0.4000, 12 ahead",
    "took": "takes 2.50 at 0.4000, fee $0.004300; 7.50 left",
    "filled": "filled 2.50 at 0.4000, fee $0.004300; 7.50 left",
    "ended": "over: the market was settled",
    "amended": "amended to 2.50 at 0.4000",
    "traded ahead": "a trade takes 2.50 from ahead of it; 12 ahead",
    "cancelled ahead": "a cancellation takes 2.50 from ahead of it; 12 ahead",
}


def test_every_kind_of_moment_and_every_end_has_words() -> None:
    assert set(KINDS) == set(range(kernel.SENT, kernel.QUEUE_CANCELLED + 1))
    assert set(KINDS.values()) == set(WORDS)
    assert set(REASONS) == set(NUMBERS)
    assert len(set(REASONS.values())) == len(REASONS)
    assert all(REASONS.values())


@pytest.mark.parametrize("kind", WORDS)
def test_a_moment_is_one_line(kind: str) -> None:
    _, _, line, *_ = tell(life_of(moment(kind, reason="the market was settled")), "queue")
    assert line == f"     +1.500s  {WORDS[kind]}"


def test_a_story_begins_with_what_and_when_and_ends_with_what_is_left() -> None:
    first, second, *_, last = tell(life_of(moment("rests")), "queue-optimistic")
    assert first == "order 3: buy 10 YES in MADE, model queue-optimistic"
    assert second == "2023-11-14 22:13:20.000000Z  YES bid 0.4000, ask 0.4500"
    assert last.endswith("+60.000s  still open, 7.50 unfilled; no longer followed")
    assert list(tell(life_of(size=1_250), "queue"))[-1].endswith("still open, 12.50 unfilled; no longer followed")
    assert list(tell(life_of(moment("ended", reason="filled")), "queue"))[-1].endswith("over: filled")


def test_a_long_queue_is_told_by_its_ends() -> None:
    queue = [moment("traded ahead", size=100) for _ in range(100)]
    lines = list(tell(life_of(*queue[:50], moment("filled"), *queue[50:], moment("ended", reason="filled")), "queue"))
    # Two of the head, 20 and 20 of the ends, the fill in the middle, and what is between in one line.
    assert len(lines) == 2 + 20 + 1 + 1 + 20
    assert "… 61 more trades and cancellations took 61 from ahead of it" in lines[22]
    assert "filled 2.50" in lines[23]
