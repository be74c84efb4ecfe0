"""The audit finds nothing where nothing is wrong, and each kind of look ahead that is planted."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kflow.errors import UsageError
from kflow.policy import features
from kflow.replay.tapes import Shelf, fees_of
from kflow.rl import audit, observed, warmup
from kflow.rl.dataset import Dataset, Group, Span, build
from kflow.rl.noise import KNOWN_BEFORE, book_at, noised, without_head
from kflow.rl.worlds import make_tapes
from kflow.sim.fills import Assumptions
from kflow.sim.tape import ADD, PRINT, Tape
from kflow.testing.reference import tapes_named

STEP_US = 250_000
Plant = Callable[[Dataset], Dataset]
KNOWN = {name: n for n, name in enumerate(feature.name for feature in features.MARKET)}


def assume(tape: Tape) -> Assumptions:
    return Assumptions(fees=fees_of(tape)[0])


@pytest.fixture(scope="module")
def tapes() -> list[Tape]:
    """Made-up markets, and random ones on two grids whose books empty and cross."""
    return [*make_tapes("fair", 2, seed=1, seconds=200), *tapes_named("random", seed=2, seconds=100)]


# Noise.


def followed(tape: Tape) -> list[np.ndarray[Any, Any]]:
    """Books before each event and after the last, told event by event."""
    arrays = tape.arrays
    book = arrays.books[0].astype(np.int64)
    books = [book.copy()]
    for code, col, size in zip(arrays.code.tolist(), arrays.col.tolist(), arrays.size.tolist(), strict=True):
        if code & 3 != PRINT:
            book[code >> 2 & 1, col] += size if code & 3 == ADD else -size
        books.append(book.copy())
    return books


def test_noise_begins_right_behind_a_moment_and_is_a_market_of_its_own(tapes: list[Tape]) -> None:
    rng = np.random.default_rng(3)
    waits = set()
    for _ in range(60):
        tape = tapes[int(rng.integers(len(tapes)))]
        own = int(rng.integers(tape.stretches))
        first, last = tape.span_us(own)
        at_us = int(rng.integers(first, last))
        made = noised(tape, own, at_us, at_us + 700_000, rng)
        begin = int(tape.arrays.bounds[own, 0])
        cut = int(np.searchsorted(made.arrays.us, at_us, side="right"))
        for name in ("us", "code", "col", "size", "top"):
            before = getattr(tape.arrays, name)[begin : begin + cut]
            assert (getattr(made.arrays, name)[:cut] == before).all()
        us, code = made.arrays.us, made.arrays.code
        assert (us[cut:] > at_us).all()
        assert us[-1] >= at_us + 700_000
        assert (np.diff(us) >= 0).all()
        assert ((code >> 3 & 1) == np.append(us[1:] != us[:-1], True)).all()
        books = followed(made)
        assert min(book.min() for book in books) >= 0
        for key, book in zip(made.arrays.keys.tolist(), made.arrays.books, strict=True):
            assert (book == books[key]).all()
        assert {"ends", "result", "settlement_value_e4"} >= made.facts.keys() - set(KNOWN_BEFORE)
        waits.add(int(us[cut] - at_us))
    assert min(waits) < 20
    assert max(waits) > 100_000


def test_noise_keeps_books_across_the_next_whole_one() -> None:
    [tape] = make_tapes("fair", 1, seed=1, seconds=600)
    at_us = int(tape.arrays.us[1023])
    for seed in range(8):
        made = noised(tape, 0, at_us, at_us + 1, np.random.default_rng(seed))
        if len(made.arrays.keys) == 2:
            assert (made.arrays.books[1] == followed(made)[1024]).all()
            return
    raise AssertionError("no noise reached event 1024")


def test_a_book_in_the_middle_is_what_events_made_of_it(tapes: list[Tape]) -> None:
    books = followed(tapes[0])
    for event in (0, 1, 700, tapes[0].events - 1):
        assert (book_at(tapes[0], event) == books[event]).all()


def test_without_its_head_a_stretch_goes_on_as_it_did(tapes: list[Tape]) -> None:
    tape = tapes[0]
    from_us, until_us = (int(tape.arrays.us[0]) + seconds * 1_000_000 for seconds in (20, 90))
    made = without_head(tape, 0, from_us, until_us)
    assert made.span_us(0)[0] == from_us
    low, high = (int(np.searchsorted(tape.arrays.us, us, side="right")) for us in (from_us, until_us))
    assert (followed(made)[-1] == book_at(tape, high)).all()
    assert made.events == high - low + 1


# Leaks.


def test_nothing_of_what_comes_later_is_seen(tapes: list[Tape]) -> None:
    said: list[int] = []
    found = audit.leaks(tapes, assume, cuts=200, seed=5, progress=said.append)
    assert found.differences == {}
    assert (found.cuts, found.most, sum(said)) == (200, 0.0, 200)
    assert found.decisions > 10_000
    assert found.rows > 20_000


def test_each_decision_can_be_cut_behind_once(tapes: list[Tape]) -> None:
    found = audit.leaks(tapes[:1], assume, cuts=10**6, every_us=5_000_000)
    [span] = build(tapes[:1], assume, every_us=5_000_000).spans
    assert found.cuts == span.rows - 2
    assert found.differences == {}


def changed(dataset: Dataset, change: Callable[[Group, Span, np.ndarray[Any, Any]], None]) -> Dataset:
    """A data set with other market features, span by span."""
    groups = [replace(group, columns=group.columns.copy()) for group in dataset.groups]
    for span in dataset.spans:
        group = groups[span.group]
        change(group, span, group.columns[span.at : span.at + span.rows])
    return replace(dataset, groups=tuple(groups))


def one_row_ahead(dataset: Dataset) -> Dataset:
    def change(_: Group, __: Span, rows: np.ndarray[Any, Any]) -> None:
        rows[:-1, KNOWN["mid"]] = rows[1:, KNOWN["mid"]]

    return changed(dataset, change)


def scaled_by_all_of_it(dataset: Dataset) -> Dataset:
    def change(_: Group, __: Span, rows: np.ndarray[Any, Any]) -> None:
        rows[:, KNOWN["spread"]] -= rows[:, KNOWN["spread"]].mean()

    return changed(dataset, change)


def knows_how_long_it_lasts(dataset: Dataset) -> Dataset:
    def change(_: Group, span: Span, rows: np.ndarray[Any, Any]) -> None:
        rows[:, KNOWN["closes_in"]] = 1 - np.arange(span.rows) / span.rows

    return changed(dataset, change)


def knows_the_result(dataset: Dataset) -> Dataset:
    def change(_: Group, span: Span, rows: np.ndarray[Any, Any]) -> None:
        rows[:, KNOWN["silence"]] = span.value / 10_000

    return changed(dataset, change)


def early(us: int) -> Plant:
    """Events reach accounts before they happen."""

    def plant(dataset: Dataset) -> Dataset:
        groups = tuple(replace(g, market=g.market._replace(us=g.market.us - us)) for g in dataset.groups)
        return replace(dataset, groups=groups)

    return plant


@pytest.mark.parametrize(
    ("plant", "where"),
    [
        (one_row_ahead, {"market features"}),
        (scaled_by_all_of_it, {"market features"}),
        (knows_how_long_it_lasts, {"market features"}),
        (knows_the_result, {"market features"}),
        (early(STEP_US), {"books", "rewards", "masks", "own features", "orders", "cash and positions", "sums"}),
    ],
)
def test_a_planted_look_ahead_is_found(tapes: list[Tape], plant: Plant, where: set[str]) -> None:
    found = audit.leaks(tapes, assume, cuts=48, seed=1, build=lambda *a, **k: plant(build(*a, **k)))
    assert where <= found.differences.keys()
    if where == {"market features"}:
        assert found.differences.keys() == where
    assert found.most > 0
    assert all("noise behind" in each.first for each in found.differences.values())


def test_a_single_microsecond_is_too_early(tapes: list[Tape]) -> None:
    found = audit.leaks(tapes, assume, cuts=400, seed=1, build=lambda *a, **k: early(1)(build(*a, **k)))
    assert "books" in found.differences


def test_bits_are_compared_and_not_values() -> None:
    found = audit.Leaks()
    found.compare("zeros", np.array([0.0, 1.0]), np.array([-0.0, 1.0]), "row {}".format)
    found.compare("numbers", np.array([[1, 2], [3, 4], [5, 6]]), np.array([[1, 2], [3, 9], [5, 7]]), "row {}".format)
    found.compare("unknown", np.array([math.nan]), np.array([0.0]), "row {}".format)
    found.compare("same", np.array([math.nan]), np.array([math.nan]), "row {}".format)
    assert {what: (each.times, each.most, each.first) for what, each in found.differences.items()} == {
        "zeros": (1, 0.0, "row 0"),
        "numbers": (2, 5.0, "row 1"),
        "unknown": (1, math.inf, "row 0"),
    }
    assert found.numbers == 10


def test_an_audit_of_nothing_is_refused(tapes: list[Tape]) -> None:
    with pytest.raises(UsageError):
        audit.leaks(tapes, assume, cuts=0)


# When the recording began, and the actor's code.


def test_after_five_minutes_it_does_not_matter_when_the_memory_began() -> None:
    found = warmup.warm_up(make_tapes("fair", 2, seed=1), assume, count=40, seed=1)
    assert [warm.seconds for warm in found] == [60, 300, 600]
    assert warmup.cold(found) == []
    minute, five, ten = (warm.most for warm in found)
    assert minute > warmup.TOLERANCE > five > ten
    # A sum that forgets within a minute is right to e^-5 of what it held, but for rounding to 32 bits.
    assert five < 1.2 * math.exp(-5)


def test_a_memory_that_is_too_long_is_found() -> None:
    warm = warmup.Warm(300, 100, 0.03, "flow_60s", 0.001, 0.5, "flow_60s")
    assert warmup.cold([warm._replace(seconds=60), warm]) == [warm]


def test_where_nothing_lasts_a_minute_nothing_is_said_of_warming_up() -> None:
    assert warmup.warm_up(make_tapes("fair", 1, seed=1, seconds=50), assume, count=5) == []


def test_the_actors_code_sees_what_training_sees(tapes: list[Tape]) -> None:
    said: list[int] = []
    found = audit.live(tapes, assume, events=10**9, progress=said.append)
    assert found.differences == {}
    assert found.cuts == sum(tape.stretches for tape in tapes)
    assert sum(said) == sum(tape.events for tape in tapes)
    assert audit.live(tapes, assume, events=1).cuts == 1


# Features.


def test_a_constant_feature_and_one_that_is_the_sum_of_others_are_seen() -> None:
    rng = np.random.default_rng(1)
    seen = rng.normal(size=(5_000, len(features.FEATURES))).astype(np.float32)
    seen[:, 2] = 0.5
    seen[:, 4] = seen[:, 0] - 2 * seen[:, 7]
    seen[:, 9] = -seen[:, 8]
    found = observed.summed_up(seen)
    assert found.constant == ["sides"]
    assert len(found.varying) == len(features.FEATURES) - 1
    assert found.rank == len(found.varying) - 2
    [pair] = found.pairs(1)
    assert pair[:2] == ("ask_size", "bid_depth")
    assert pair.correlation == pytest.approx(-1)
    assert found.features[2] == ("sides", "flag", 0.5, 0.0, 0.5, 0.5, True)


def test_random_play_makes_every_own_feature_vary(tapes: list[Tape]) -> None:
    found = observed.observe(build(tapes, assume), decisions=60_000)
    assert found.decisions >= 60_000
    assert not {feature.name for feature in features.OWN} & set(found.constant)
    assert found.rank == len(found.varying)
    for feature, spread in zip(features.FEATURES, found.features, strict=True):
        assert feature.low <= spread.least <= spread.mean <= spread.most <= feature.high


# Masks.


def test_masks_deny_what_limits_deny_and_nothing_else(tapes: list[Tape]) -> None:
    said: list[int] = []
    found = observed.check_masks(build(tapes, assume), states=1_000, progress=said.append)
    assert (found.states, found.missed, found.spurious, found.first) == (1_000, 0, 0, "")
    assert sum(said) == 1_000
    assert found.masked == found.denied
    # An action set has no action that is larger than an order may be.
    assert [why for why, count in found.denied.items() if not count] == ["larger than an order may be, or of no size"]


@pytest.mark.parametrize("masked", [False, True])
def test_a_mask_that_disagrees_is_told(tapes: list[Tape], masked: bool) -> None:
    def wrong(batch: Any) -> Any:
        masks = batch.masks()
        masks[:, 1:] = not masked
        return masks

    found = observed.check_masks(build(tapes, assume), states=100, masks_of=wrong)
    denied = sum(found.denied.values())
    assert (found.missed, found.spurious) == ((0, 100 * 61 - denied) if masked else (denied, 0))
    assert found.first.endswith(", masked" if masked else "not masked")


# Real recordings.


def recorded(paths: Sequence[Path], root: Path) -> list[Tape]:
    return Shelf(root).of_files(paths)


@pytest.fixture(scope="module")
def real(realdata: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Tape]]:
    root = tmp_path_factory.mktemp("tapes")
    folders = ("kalshi-btc15m-2026-05", "kalshi-inx-2023-04")
    return {folder: recorded([realdata / folder], root) for folder in folders}


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.parametrize("folder", ["kalshi-btc15m-2026-05", "kalshi-inx-2023-04"])
def test_nothing_leaks_from_what_real_markets_did_later(real: dict[str, list[Tape]], folder: str) -> None:
    found = audit.leaks(real[folder], assume)
    assert (found.cuts, found.differences) == (1_000, {})
    assert found.decisions > 90_000
    assert warmup.cold(warmup.warm_up(real[folder], assume)) == []
    assert audit.live(real[folder], assume).differences == {}


@pytest.mark.realdata
def test_on_real_markets_no_feature_is_constant_or_the_sum_of_others(real: dict[str, list[Tape]]) -> None:
    btc, inx = real.values()
    together = observed.observe(build([*btc, *inx], assume))
    assert together.constant == []
    assert together.rank == len(features.FEATURES)
    # A grid of cents, whose recording does not say when it closes.
    assert observed.observe(build(inx, assume)).constant == ["tick", "closes_in", "closes_soon"]


@pytest.mark.realdata
def test_on_real_markets_masks_deny_what_limits_deny(real: dict[str, list[Tape]]) -> None:
    for tapes in real.values():
        found = observed.check_masks(build(tapes, assume))
        assert (found.states, found.missed, found.spurious) == (2_000, 0, 0)
        assert min(found.denied[why] for why in list(found.denied)[1:]) > 0
