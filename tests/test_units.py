"""Units: exact on the way in, exact on the way out, and nothing that does not fit."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kflow import units
from kflow.errors import Unrepresentable
from kflow.units import (
    DOLLAR,
    PRICES,
    Money,
    Price,
    Size,
    complement,
    format_money,
    format_price,
    format_size,
    notional,
    parse_money,
    parse_price,
    parse_size,
    price_from_cents,
    size_from_count,
)

PRICE = st.integers(0, DOLLAR).map(Price)
INT64 = st.integers(-(2**63) + 1, 2**63 - 1)
DECIMAL_TEXT = st.from_regex(r"-?[0-9]{1,19}(\.[0-9]{1,12})?", fullmatch=True)


@given(PRICE)
def test_every_price_survives_its_text(price: Price) -> None:
    assert parse_price(format_price(price)) == price


@given(INT64)
def test_every_size_and_amount_survives_its_text(value: int) -> None:
    assert parse_size(format_size(Size(value))) == value
    assert parse_money(format_money(Money(value))) == value


@given(DECIMAL_TEXT, st.sampled_from([(parse_size, 2), (parse_money, 6)]))
def test_parsing_is_the_exact_fraction_or_a_refusal(text: str, case: tuple[object, int]) -> None:
    parse, places = case
    exact = Fraction(text) * 10**places
    if exact.denominator == 1 and abs(exact) < 2**63:
        assert parse(text) == exact  # type: ignore[operator]
        assert parse(Decimal(text)) == exact  # type: ignore[operator]
    else:
        with pytest.raises(Unrepresentable):
            parse(text)  # type: ignore[operator]


@given(st.one_of(st.text(), st.decimals(), st.integers(), st.binary(), st.none(), st.booleans(), st.floats()))
def test_parsers_raise_nothing_but_their_own_error(value: object) -> None:
    for parse in (parse_price, parse_size, parse_money, price_from_cents, size_from_count):
        try:
            result = parse(value)  # type: ignore[operator]
        except Unrepresentable:
            continue
        assert type(result) is int
        assert type(value) in (str, int, Decimal)


@pytest.mark.parametrize(
    "text", ["", " 0.5", "0.5 ", "+0.5", ".5", "5e-1", "0_5", "0.56000000000001", "nan", "\u0660.\u0665", "1.0001"]
)
def test_what_is_no_price_is_refused(text: str) -> None:
    with pytest.raises(Unrepresentable) as refused:
        parse_price(text)
    assert str(refused.value) == f"{text!r} is not a price in [0, 1] dollars with at most 4 decimals"


@pytest.mark.parametrize("intruder", [True, 1.0, 0.5, [1], {"a": 1}, None])
def test_no_type_slips_through_a_warm_cache(intruder: object) -> None:
    assert parse_price(1) == DOLLAR
    assert parse_price(Decimal("0.5")) == 5000
    assert parse_size(1) == 100
    for parse in (parse_price, parse_size, parse_money):
        with pytest.raises(Unrepresentable):
            parse(intruder)  # type: ignore[arg-type]


@pytest.mark.parametrize("number", ["1e999990", "-1e9999999", "1e-9999999", "0e999999999", "sNaN", "Infinity"])
def test_extreme_numbers_are_refused_at_once(number: str) -> None:
    for parse in (parse_price, parse_size, parse_money, price_from_cents, size_from_count):
        with pytest.raises(Unrepresentable):
            parse(Decimal(number))  # type: ignore[operator]


def test_more_digits_than_the_decimal_context_do_not_round() -> None:
    with pytest.raises(Unrepresentable):
        parse_size("12345678901234567.000000000001")


def test_a_full_cache_starts_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "_CACHE_LIMIT", 3)
    cache = units._Prices()
    assert [cache[f"0.{n}"] for n in range(1, 9)] == [n * 1000 for n in range(1, 9)]
    assert len(cache) <= 3


def test_spellings_of_one_price_are_one_price() -> None:
    assert {parse_price(text) for text in ("0.96", "0.960", "0.9600", "0.960000")} == {9600}
    assert PRICES["0.9600"] == 9600


@pytest.mark.parametrize("cents", range(101))
def test_cents_are_exact(cents: int) -> None:
    assert price_from_cents(cents) == cents * 100 == parse_price(f"{cents / 100:.2f}")


@pytest.mark.parametrize("cents", [-1, 101, Decimal("0.5"), "50.5"])
def test_what_is_no_cent_is_refused(cents: int) -> None:
    with pytest.raises(Unrepresentable):
        price_from_cents(cents)


def test_counts_are_whole_and_bounded() -> None:
    assert size_from_count(12) == 1200
    assert size_from_count(Decimal("-3.0")) == -300
    for count in (Decimal("1.5"), 2**63, 2**62):
        with pytest.raises(Unrepresentable):
            size_from_count(count)


@given(PRICE, st.integers(0, 10**12))
def test_price_times_size_is_money(price: Price, size: int) -> None:
    assert Fraction(notional(price, Size(size)), 10**6) == Fraction(price, 10**4) * Fraction(size, 100)
    assert notional(price, Size(size)) + notional(complement(price), Size(size)) == size * DOLLAR
