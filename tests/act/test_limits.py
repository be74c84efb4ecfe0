"""The limits file: what it says, what it is refused for, and that limits at run time only become stricter."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from kflow.act import limits
from kflow.act.limits import RULES, Limits, load, parse, write
from kflow.errors import ConfigError, UsageError

ROOT = Path(__file__).resolve().parents[2]


@st.composite
def any_limits(draw: st.DrawFn) -> Limits:
    values = {name: draw(st.integers(r.low * r.scale, r.high * r.scale)) for name, r in RULES.items()}
    return Limits(sha256="", **values)


def test_the_defaults_are_the_small_ones_of_the_order() -> None:
    found = {rule.key: rule.shown(Limits().values[name]) for name, rule in RULES.items()}
    assert found == {
        "order_contracts": "10",
        "order_dollars": "10",
        "collar_cents": "10",
        "cross_cents": "1",
        "order_seconds": "60",
        "market_contracts": "50",
        "market_dollars": "25",
        "event_dollars": "50",
        "total_dollars": "100",
        "daily_loss_dollars": "50",
        "drawdown_dollars": "60",
        "open_orders_per_market": "4",
        "open_orders": "20",
        "throttle_seconds": "0.25",
        "orders_per_minute": "60",
        "burst_orders": "5",
        "fills_per_minute": "30",
        "duplicate_seconds": "1",
        "book_age_seconds": "5",
        "before_close_seconds": "60",
    }


def test_every_limit_has_a_rule_and_the_reverse() -> None:
    assert list(RULES) == [name for name in Limits.__struct_fields__ if name != "sha256"]
    assert len({rule.key for rule in RULES.values()}) == len(RULES)


def test_units_of_people_become_those_inside() -> None:
    text = (
        b"order_contracts = 2.5\norder_dollars = 1.000001\ncollar_cents = 0.01\n"
        b"throttle_seconds = 0.000001000000\nopen_orders = 3.0"
    )
    found = parse(text)
    assert (found.order_size, found.order_cost, found.collar, found.throttle_us, found.total_orders) == (
        250,
        1_000_001,
        1,
        1,
        3,
    )
    assert found.event_risk == Limits().event_risk
    assert found.sha256 == hashlib.sha256(text).hexdigest()


@given(any_limits())
def test_the_file_that_is_written_says_the_same(given_limits: Limits) -> None:
    text = given_limits.text().encode()
    assert parse(text) == given_limits
    assert given_limits.sha256 == hashlib.sha256(text).hexdigest()


def test_without_a_file_the_hash_is_that_of_the_default_file(tmp_path: Path) -> None:
    write(tmp_path / "limits.toml")
    assert load(tmp_path / "limits.toml") == Limits()
    assert hashlib.sha256((tmp_path / "limits.toml").read_bytes()).hexdigest() == Limits().sha256
    assert (tmp_path / "limits.toml").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("line", "why", "hint"),
    [
        ("order_contracts = true", "order_contracts cannot be True", "it takes contracts from 0 to 100,000"),
        ('order_contracts = "10"', "order_contracts cannot be 10", "in steps of 0.01"),
        ("order_contracts = 0.001", "order_contracts cannot be 0.001", "in steps of 0.01"),
        ("order_contracts = -1", "order_contracts cannot be -1", "from 0"),
        ("order_contracts = 100000.01", "order_contracts cannot be 100000.01", "to 100,000"),
        ("order_contracts = nan", "order_contracts cannot be NaN", "from 0"),
        ("order_contracts = inf", "order_contracts cannot be Infinity", "from 0"),
        ("order_contracts = 1e400", "order_contracts cannot be 1E+400", "from 0"),
        ("order_contracts = 1.0000000000000", "order_contracts cannot be 1.0000000000000", "steps"),
        ("order_contracts = 1e-999999", "order_contracts cannot be 1E-999999", "from 0"),
        ("order_contracts = 1.0000000000000000000000000000000001", "order_contracts cannot be 1.000", "steps"),
        (f"order_contracts = 0x{'f' * 5000}", "order_contracts cannot be 0xfff", "from 0"),
        ("order_contracts = []", "order_contracts cannot be []", "from 0"),
        ("order_contracts = 2026-01-01", "order_contracts cannot be 2026-01-01", "from 0"),
        ("order_seconds = 29.999999", "order_seconds cannot be 29.999999", "from 30 to 120"),
        ("order_seconds = 120.000001", "order_seconds cannot be 120.000001", "from 30 to 120"),
        ("open_orders = 2.5", "open_orders cannot be 2.5", "orders from 0 to 1,000"),
        ("orders_per_minute = 0", "orders_per_minute cannot be 0", "from 1"),
        ("order_contract = 5", "there is no limit order_contract", "did you mean order_contracts?"),
        ("zzz = 5", "there is no limit zzz", "kflow actor limits"),
        ("[limits]\norder_contracts = 5", "there is no limit limits", ""),
        ("sha256 = 5", "there is no limit sha256", ""),
        ("order_contracts = 5\norder_contracts = 6", "is not TOML", "kflow actor limits"),
        ("order_contracts = ", "is not TOML", ""),
        (f"order_contracts = {'1' * 5000}", "is not TOML", ""),
        (f"order_contracts = 1e{'9' * 30}", "is not TOML", ""),
        (f"order_contracts = {'[' * 3000}", "is not TOML", ""),
    ],
)
def test_what_does_not_fit_is_refused_with_the_remedy(line: str, why: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(line.encode(), "my.toml")
    assert str(caught.value).startswith("my.toml")
    assert why in str(caught.value)
    assert hint in caught.value.hint


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(ConfigError, match="is not UTF-8"):
        parse(b"\xff")


@given(st.binary(max_size=60) | st.text(alphabet="order_contracts= 0123456789.-+einfax[]\n\"'", max_size=60))
def test_whatever_the_file_holds_it_is_limits_or_an_error_of_ours(content: bytes | str) -> None:
    raw = content if isinstance(content, bytes) else content.encode()
    try:
        parse(raw)  # which looks at every number itself
    except ConfigError as error:
        event(str(error).split(":")[0])


@pytest.mark.parametrize("value", [True, -1, 1.0, None, 100_000 * 100 + 1])
def test_limits_made_in_code_are_looked_at_too(value: object) -> None:
    with pytest.raises(ConfigError, match="limits: order_contracts cannot be"):
        Limits(order_size=value)  # type: ignore[arg-type]


# --- the file itself


@dataclass
class Place:
    path: Path

    def refused(self, why: str) -> None:
        with pytest.raises(ConfigError, match=why) as caught:
            load(self.path)
        assert caught.value.hint


@pytest.fixture
def place(tmp_path: Path) -> Place:
    write(tmp_path / "limits.toml")
    return Place(tmp_path / "limits.toml")


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o622])
def test_a_file_that_others_can_change_is_refused(place: Place, mode: int) -> None:
    place.path.chmod(mode)
    place.refused(f"can be changed by others .mode 0{mode:o}.")


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o400])
def test_a_file_that_others_can_only_read_is_taken(place: Place, mode: int) -> None:
    place.path.chmod(mode)
    assert load(place.path) == Limits()


def test_a_link_is_judged_by_what_it_leads_to(place: Place) -> None:
    link = Place(place.path.with_name("link.toml"))
    link.path.symlink_to(place.path)
    assert load(link.path) == Limits()
    place.path.chmod(0o666)
    link.refused("can be changed by others")


def test_what_is_no_file_is_refused_without_waiting(place: Place, tmp_path: Path) -> None:
    place.path.unlink()
    place.refused("cannot be read: No such file")
    os.mkfifo(place.path, 0o600)
    place.refused("is not a regular file")
    place.path.unlink()
    place.path.mkdir()
    place.refused("is not a regular file")


def test_a_file_of_another_user_is_refused(place: Place) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(place.path, 12_345, -1)
    place.refused("belongs to another user")


def test_a_file_that_is_much_too_large_is_refused(place: Place) -> None:
    place.path.write_bytes(b"#" * 65_536)
    assert load(place.path).order_size == Limits().order_size
    place.path.write_bytes(b"#" * 65_537)
    place.refused("is larger than 65,536 bytes")


def test_nothing_is_written_over(place: Place, tmp_path: Path) -> None:
    before = place.path.read_bytes()
    with pytest.raises(UsageError, match="is there already"):
        write(place.path, Limits(order_size=1))
    assert place.path.read_bytes() == before
    with pytest.raises(ConfigError, match="cannot be written: No such file"):
        write(tmp_path / "none" / "limits.toml")


# --- while it runs

# By hand, so that a wrong sign in a rule is seen.
MORE_IS_STRICTER = {"throttle_us", "duplicate_us", "close_us"}


@given(any_limits(), any_limits())
def test_at_run_time_no_limit_becomes_looser(now: Limits, asked: Limits) -> None:
    both, looser = now.lowered(asked)
    named = {line.split()[0] for line in looser}
    for name, rule in RULES.items():
        have, want, got = now.values[name], asked.values[name], both.values[name]
        sign = -1 if name in MORE_IS_STRICTER else 1
        assert got * sign == min(have * sign, want * sign)
        assert (rule.key in named) == (want * sign > have * sign)


@given(any_limits(), any_limits())
def test_the_hash_is_that_of_the_file_whose_limits_hold(now: Limits, asked: Limits) -> None:
    both = now.lowered(asked).limits
    for one in (now, asked):
        assert (both.sha256 == one.sha256) == (both.values == one.values)
    assert parse(both.text().encode()).values == both.values
    assert now.lowered(now) == (now, ())


def test_a_file_that_lowers_gives_its_own_hash_and_one_that_raises_leaves_the_old() -> None:
    now = parse(b"order_contracts = 5")
    lower, higher, mixed = (
        parse(text) for text in (b"order_contracts = 4 # x", b"order_contracts = 6", b"open_orders = 1")
    )
    assert now.lowered(lower) == (lower, ())
    kept, looser = now.lowered(higher)
    assert kept == now
    assert looser == ("order_contracts stays 5, 6 would be looser",)
    both, looser = now.lowered(mixed)
    assert (both.order_size, both.total_orders) == (500, 1)
    assert both.sha256 == hashlib.sha256(both.text().encode()).hexdigest()
    assert looser == ("order_contracts stays 5, 10 would be looser",)


def test_the_settings_only_make_it_stricter() -> None:
    file = parse(b"order_contracts = 5\nthrottle_seconds = 0.5")
    tight = file.capped(contracts=3, throttle_ms=1_000)
    assert (tight.order_size, tight.throttle_us, tight.sha256) == (300, 1_000_000, file.sha256)
    assert file.capped(contracts=10, throttle_ms=250) == file
    with pytest.raises(ConfigError, match="order_contracts cannot be"):
        file.capped(contracts=-1, throttle_ms=250)


def test_the_bounds_of_one_order_are_those_that_masks_use() -> None:
    assert msgspec.structs.replace(Limits(), market_orders=2).order._asdict() == {
        "max_order": 1_000,
        "max_position": 5_000,
        "max_open": 2,
    }


def test_the_page_shows_the_default_file() -> None:
    assert f"```toml\n{Limits().text()}```" in (ROOT / "docs" / "limits.md").read_text(encoding="utf-8")
    assert limits.RULES["order_us"].takes == "seconds from 30 to 120, in steps of 0.000001"
