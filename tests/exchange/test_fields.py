"""Bodies of requests: whatever is sent is read or refused, never half understood."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kflow.exchange.accounts import Ticket
from kflow.exchange.answers import Refusal
from kflow.exchange.fields import Fields, need
from kflow.exchange.terms import OrderRefused
from kflow.exchange.trade_rest import Trading
from kflow.testing.trader import ticket
from kflow.units import DOLLAR

FINE = ticket("bid", "0.42", "10", client_order_id="mine", expiration_time=1_800_000_000, post_only=True)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NUMBERS = st.from_regex(r"-?[0-9]{0,20}(\.[0-9]{0,7})?", fullmatch=True)


def read(body: bytes) -> Ticket | str:
    """The order in a body, or what it is refused with."""
    try:
        return Trading._ticket(Fields.parse(body))
    except Refusal as refusal:
        return f"{refusal.status_code} {refusal.body['code']}"
    except OrderRefused as refused:
        return f"{refused.status} {refused.code}"


@settings(deadline=None)  # a busy machine is no fault
@given(st.dictionaries(st.sampled_from(sorted(FINE)), ANYTHING | NUMBERS, max_size=4))
def test_an_order_of_anything_is_read_or_refused(changes: dict[str, Any]) -> None:
    result = read(msgspec.json.encode(FINE | changes))
    if isinstance(result, Ticket):
        assert result.size > 0
        assert 0 <= result.price <= DOLLAR
        assert result.ticker
    else:
        assert result in ("400 invalid_parameters", "400 invalid_price", "400 invalid_order")


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_bytes_are_read_or_refused(body: bytes) -> None:
    assert read(body) == "400 invalid_parameters"


@pytest.mark.parametrize(
    "body",
    [
        b'{"ticker":"\\ud800"}',
        b'{"ticker":"\xff"}',
        b'{"\xe9',
        b'{"ticker":"\xef\xbb\xbf"}',
        b'{"ticker":1e999}',
        b'{"a":' * 2000,
    ],
    ids=["half a surrogate", "no UTF-8", "half a character", "a mark of byte order", "too large", "too deep"],
)
def test_strange_json_is_refused(body: bytes) -> None:
    assert read(body) == "400 invalid_parameters"


@pytest.mark.parametrize(
    ("text", "price"),
    [("0.42", 4200), ("0.4200", 4200), ("0.420", 4200), ("0.0001", 1), ("0.5", 5000), ("1.0000", 10_000), ("0.00", 0)],
)
def test_prices(text: str, price: int) -> None:
    assert Fields({"price": text}).price("price") == price


@pytest.mark.parametrize(
    "text", ["", ".5", "5.", "1", "0.00001", "+0.5", " 0.5", "0.5\n", "0,5", "\u0660.\u0665", "1e-1", "0x1.0"]
)
def test_what_is_no_price(text: str) -> None:
    with pytest.raises(Refusal):
        Fields({"price": text}).price("price")


@pytest.mark.parametrize(("text", "size"), [("10", 1000), ("10.5", 1050), ("0.01", 1), ("00010", 1000)])
def test_counts(text: str, size: int) -> None:
    assert Fields({"count": text}).size("count") == Fields({"count": text}).count("count") == size


@pytest.mark.parametrize("text", ["", "0", "0.00", "1.001", "-1", "1 ", "1_000", "1,000", "9" * 16, "\u0661"])
def test_what_is_no_count(text: str) -> None:
    with pytest.raises(Refusal):
        Fields({"count": text}).size("count")


def test_nothing_is_a_count_only_where_it_may_be() -> None:
    assert Fields({"reduce_to": "0"}).count("reduce_to") == 0


def test_no_body_is_an_empty_object() -> None:
    fields = Fields.parse(b"  ")
    assert (fields.text("a"), fields.integer("b"), fields.flag("c"), fields.shard()) == (None, None, False, None)


def test_minus_one_lets_the_venue_find_the_shard() -> None:
    assert Fields({"exchange_index": -1}).shard() is None
    assert Fields({"exchange_index": 2}).shard() == 2
    with pytest.raises(Refusal):
        Fields({"exchange_index": -2}).shard()


def test_what_must_be_there_is_named() -> None:
    with pytest.raises(Refusal) as refused:
        need(None, "count")
    assert refused.value.body["details"] == "count is required"
