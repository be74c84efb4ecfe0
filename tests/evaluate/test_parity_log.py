"""The log of an account: written and read again, put together from two sides, and put on one clock."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kflow.errors import DataError, KflowError, UsageError
from kflow.evaluate.parity.log import AccountLog, Amend, Fill, Holding, Order, line_of, read_log, write_log
from kflow.evaluate.parity.merge import combined, on_one_clock, since
from kflow.replay.own import read_orders

NOON = 1_778_490_000_000_000


def order(name: str = "a", **more: object) -> Order:
    return replace(Order(order=name, market="KXT-1", side=0, price=4500, size=1000, us=NOON), **more)  # type: ignore[arg-type]


WHOLE = order(
    "whole",
    client="mine",
    side=1,
    sent_us=NOON - 9000,
    answered_us=NOON + 9000,
    post_only=True,
    expires_us=NOON + 90_000_000,
    cancel_sent_us=NOON + 40_000_000,
    cancelled_us=NOON + 41_000_000,
    amends=(Amend(NOON + 5, NOON + 1, 4400, 500),),
    fills=(Fill("t-1", NOON + 7, 4400, 250, False, 4300),),
    filled=250,
)
LOG = AccountLog(
    (WHOLE, order("none", refused="insufficient_balance", guessed=True, sent_us=NOON - 10, answered_us=NOON + 10)),
    Holding(NOON - 100, 10_000_000_000, {"KXT-1": -300}),
    Holding(NOON + 100, 9_999_000_000),
    {"KXT-1": 10_000},
    "run.jsonl",
)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    write_log(tmp_path / "run.jsonl", LOG)
    assert read_log(tmp_path / "run.jsonl") == LOG


def test_simulate_reads_its_orders(tmp_path: Path) -> None:
    """The same file, without the account's lines and the refused order."""
    write_log(tmp_path / "run.jsonl", LOG)
    [given_order] = read_orders(tmp_path / "run.jsonl")
    assert (given_order.order, given_order.side, given_order.price, given_order.size) == ("whole", 1, 4500, 1000)
    assert (given_order.filled, given_order.cancelled_us) == (250, WHOLE.cancelled_us)


@given(
    st.builds(
        Order,
        order=st.text(max_size=5),
        market=st.text(max_size=5),
        side=st.integers(0, 1),
        price=st.integers(0, 10_000),
        size=st.integers(1, 2**30 - 1),
        us=st.just(NOON),
        client=st.none() | st.text(min_size=1, max_size=5),
        sent_us=st.none() | st.integers(NOON - 100, NOON),
        immediate=st.booleans(),
        reduce_only=st.booleans(),
        refused=st.none() | st.text(max_size=5),
        cancelled_us=st.none() | st.integers(NOON, NOON + 100),
        filled=st.none() | st.integers(0, 2**30),
    )
)
def test_any_order_survives_its_line(tmp_path_factory: pytest.TempPathFactory, one: Order) -> None:
    path = tmp_path_factory.mktemp("log") / "run.jsonl"
    write_log(path, AccountLog((one,)))
    assert read_log(path).orders == (one,)


LINE = f'{{"order_id":"a","market":"M","us":{NOON},"side":"yes","price":"0.45","size":"10.00"}}'


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("{", "line 1"),
        (LINE.replace('"side":"yes"', '"side":"bid"'), "side, which is yes or no"),
        (LINE.replace(f'"us":{NOON},', ""), "says when"),
        (LINE.replace('"10.00"', '"0"'), "size of more than nothing"),
        (LINE.replace('"0.45"', '"1.45"'), "price"),
        (LINE[:-1] + f',"cancelled_us":{NOON - 1}}}', "after the order reached the venue"),
        (LINE[:-1] + ',"fills":[{"us":1,"price":"0.45","size":"1.005","fee":"0","taker":true}]}', "contracts"),
        (LINE + "\n" + LINE, "order a stands there twice"),
        ('{"kind":"account","when":"then","us":1,"cash":"1"}', "before or after"),
        ('{"kind":"trade"}', "kind of line"),
    ],
)
def test_what_is_no_log_is_refused(tmp_path: Path, line: str, word: str) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(DataError, match=word) as caught:
        read_log(path)
    assert caught.value.hint


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        read_log(tmp_path / "none.jsonl")


# Two sides of one run.


def test_the_client_says_when_it_was_sent_and_the_venue_what_came_of_it() -> None:
    told = AccountLog((order("c-1", client="x", sent_us=NOON - 5, post_only=True), order("c-2", refused="too much")))
    fill = Fill("t", NOON + 1, 4500, 1000, False, 0)
    venue = AccountLog((order("v-1", client="x", fills=(fill,), filled=1000),), None, Holding(NOON, 5))
    whole = combined(told, venue)
    first = next(each for each in whole.orders if each.order == "v-1")
    assert (first.sent_us, first.post_only, first.fills) == (NOON - 5, True, (fill,))
    assert [each.refused for each in whole.orders if each.order == "c-2"] == ["too much"]
    assert whole.after == Holding(NOON, 5)


def test_an_order_that_nobody_lists_was_not_taken() -> None:
    whole = combined(AccountLog((order("lost"),)), AccountLog(()))
    assert whole.orders[0].refused == "the venue does not list it"


def test_a_run_begins_where_the_earlier_log_ended() -> None:
    old = order("old", fills=(Fill("t-1", NOON, 4500, 400, False, 0),), filled=400)
    done = order("done", fills=(Fill("t-2", NOON, 4500, 1000, True, 0),), filled=1000)
    earlier = AccountLog((old, done), None, Holding(NOON + 1, 7, {"KXT-1": 1400}))
    later = replace(old, fills=(*old.fills, Fill("t-3", NOON + 9, 4500, 600, False, 0)), filled=1000)
    found = since(AccountLog((later, done, order("new"))), earlier)
    assert found.before == earlier.after
    assert [(each.order, each.got, each.filled) for each in found.orders] == [("old", 600, 600), ("new", 0, None)]
    with pytest.raises(KflowError, match="does not say"):
        since(found, AccountLog(()))


# Clocks.


def test_clocks_that_fit_are_left_alone() -> None:
    log = AccountLog((order(sent_us=NOON - 10, answered_us=NOON + 10),))
    assert on_one_clock(log) == (log, 0)


def test_a_clock_that_is_ahead_is_moved_to_the_middle_of_the_narrowest_bounds() -> None:
    """Sent at 100 and 200 of a clock 1000 ahead; the second took 10 there and 10 back."""
    wide = order("a", us=NOON, sent_us=NOON + 1000 - 50, answered_us=NOON + 1000 + 80)
    narrow = order("b", us=NOON + 500, sent_us=NOON + 1500 - 10, answered_us=NOON + 1500 + 10)
    refused = order("c", us=NOON + 1700, guessed=True, refused="no", sent_us=NOON + 1690, answered_us=NOON + 1710)
    moved, shift = on_one_clock(AccountLog((wide, narrow, refused)))
    assert shift == -1000
    by_name = {each.order: each for each in moved.orders}
    assert (by_name["b"].us, by_name["b"].sent_us) == (NOON + 500, NOON + 490)
    assert by_name["c"].us == NOON + 700


def test_without_answers_a_clock_is_moved_as_little_as_can_be() -> None:
    log = AccountLog((order("a", sent_us=NOON + 40), order("b", sent_us=NOON - 40)))
    moved, shift = on_one_clock(log)
    assert shift == -40
    assert [each.sent_us for each in moved.orders] == [NOON, NOON - 80]


def test_what_is_not_told_is_not_written() -> None:
    assert line_of(order()) == {
        "order_id": "a",
        "market": "KXT-1",
        "us": NOON,
        "side": "yes",
        "price": "0.4500",
        "size": "10.00",
    }
