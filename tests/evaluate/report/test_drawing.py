"""Scales, ticks, labels and bins by hand."""

from __future__ import annotations

from itertools import pairwise

import pytest

from kflow.evaluate.report import money, svg, timeline, words
from kflow.evaluate.report.markup import Markup, el
from kflow.evaluate.report.shape import Data, Equity, Gap, Tape

MINUS = words.MINUS
HOUR = 3_600_000_000


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [
        (0.0, 10.0, [0, 2, 4, 6, 8, 10]),
        (-3.2, 4.1, [-2, 0, 2, 4]),
        (0.0, 0.1, [0.0, 0.02, 0.04, 0.06, 0.08, 0.1]),
        (-1e9, 1e9, [-1e9, -5e8, 0, 5e8, 1e9]),
        (3.0, 3.0, [3.0]),
    ],
)
def test_ticks_are_round_and_within(low: float, high: float, wanted: list[float]) -> None:
    assert svg.ticks(low, high) == pytest.approx(wanted)


def test_an_axis_has_the_decimals_that_it_needs() -> None:
    assert svg.tick_texts([-2.5, 0, 2.5], "dollars") == [f"{MINUS}$2.50", "$0", "$2.50"]
    assert svg.tick_texts([0, 0.025, 0.05], "plain") == ["0.000", "0.025", "0.050"]
    assert svg.tick_texts([0, 5000], "dollars") == ["$0", "$5,000"]


def test_bounds_hold_zero_and_are_never_empty() -> None:
    assert svg.padded([]) == (-1.0, 1.0)
    assert svg.padded([None, None]) == (-1.0, 1.0)
    low, high = svg.padded([3.0, 5.0])
    assert (low, high > 5.0) == (0.0, True)
    low, high = svg.padded([-2.0])
    assert (low < -2.0, high) == (True, 0.0)


def test_labels_move_apart_and_stay_inside() -> None:
    placed = svg.apart([50.0, 51.0, 52.0, 98.0], 0.0, 100.0)
    assert placed == sorted(placed)
    assert min(b - a for a, b in pairwise(placed)) >= 14
    assert max(placed) <= 100


def test_long_spells_without_a_recording_are_left_out_of_time() -> None:
    tapes = tuple(
        Tape(market=str(start), from_us=start * HOUR, until_us=(start + 1) * HOUR) for start in (0, 1, 24, 25)
    )
    times = timeline.scale(Data(tapes=tapes), (), 0.0, 1000.0)
    assert times is not None
    [(left, right, seconds)] = times.breaks()
    assert seconds == 22 * 3600
    assert right - left == pytest.approx(16)
    places = [times(hour * HOUR) for hour in (0, 1, 2, 24, 25, 26)]
    assert places == sorted(places)
    assert places[0] == 0.0
    assert places[-1] == pytest.approx(1000.0)
    assert places[1] - places[0] == pytest.approx(places[5] - places[4])


def test_time_that_is_not_known_is_not_drawn() -> None:
    assert timeline.scale(Data(), (), 0.0, 100.0) is None
    assert timeline.scale(Data(), (5.0, 5.0, None), 0.0, 100.0) is None
    assert timeline.draw(Data(tapes=(Tape(market="x"),)), 400.0) is None


def test_two_distant_moments_are_drawn_whole() -> None:
    times = timeline.scale(Data(), (0.0, 10.0 * HOUR), 0.0, 100.0)
    assert times is not None
    assert times.breaks() == []
    assert times(5.0 * HOUR) == pytest.approx(50.0)


def test_gaps_that_would_cover_each_other_are_one_mark() -> None:
    gaps = tuple(Gap(from_us=at, until_us=at + 1000, market="m") for at in (10, 20_000, HOUR // 2))
    tape = Tape(market="m", from_us=0, until_us=HOUR)
    drawn = timeline.draw(Data(tapes=(tape,), gaps=gaps), 880.0)
    assert drawn is not None
    text = str(drawn.svg())
    assert text.count('class="gap"') == 2
    assert "2 gaps" in text


def test_unknown_points_interrupt_a_line() -> None:
    curve = Equity(us=(0.0, 1e9, 2e9, 3e9), mean=(0.0, 1.0, None, 2.0))
    drawn = money.equity([money.Line("a", curve, "own")], None, Data(), 880.0)
    assert drawn is not None
    [path] = [part for part in drawn.parts if part.startswith("<path") and "line own" in part]
    assert path.count("M") == 2


def test_one_point_is_no_curve() -> None:
    lines = [money.Line("a", Equity(us=(0.0,), mean=(1.0,)), "own")]
    assert money.equity(lines, None, Data(), 880.0) is None


def test_marks_escape_and_refuse_what_the_policy_refuses() -> None:
    assert el("p", "<b>", Markup("<i>x</i>"), title='"') == '<p title="&quot;">&lt;b&gt;<i>x</i></p>'
    for name in ("style", "onclick", "a b"):
        with pytest.raises(ValueError, match="no attribute"):
            el("p", **{name: "x"})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "—"),
        (0.0, "$0"),
        (-0.00001, "$0"),
        (1.005, "+$1.00"),
        (-0.0312, f"{MINUS}$0.031"),
        (0.0042, "+$0.0042"),
        (-12345.6, f"{MINUS}$12,346"),
    ],
)
def test_dollars(value: float | None, text: str) -> None:
    assert words.dollars(value, sign=True) == text


def test_bins_by_their_ends() -> None:
    assert words.between(None, -5.0) == f"< {MINUS}5"
    assert words.between(5.0, None) == "≥ 5"
    assert words.between(0.0, 0.0) == "0"
    assert words.between(-1.0, 10000.0) == f"{MINUS}1 to 10k"
    assert words.between(0.0, 10.0) == "0\N{EN DASH}10"
    assert words.between(None, None) == "—"


def test_names_are_cut_in_their_middle_and_lose_what_steers() -> None:
    assert words.short("KXBTC15M-26MAY141130", 13) == "KXBTC1…141130"
    assert words.plain("a\u202eb\x1bc\nd") == "a·b·c d"
