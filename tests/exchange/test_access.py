"""Keys: whose they are and what they may do."""

from __future__ import annotations

from pathlib import Path

import pytest

from kflow.clock import ManualClock
from kflow.exchange.access import USER, Access, Denied, Key
from kflow.kalshi.auth import ApiKey, write_new_key

PATH = "/trade-api/v2/portfolio/balance"


@pytest.mark.parametrize(
    ("scopes", "asked", "allowed"),
    [
        (("read", "write"), "write::trade", True),
        (("read", "write"), "read::portfolio_balance", True),
        (("read",), "write::trade", False),
        (("read",), "write", False),
        (("write::trade",), "write::trade", True),
        (("write::trade",), "write::transfer", False),
        (("write::trade",), "write", False),
        (("write::trade",), "read", False),
        (("read::portfolio_balance",), "read::portfolio_balance", True),
        (("read::portfolio_balance",), "read", False),
    ],
)
def test_a_scope_covers_itself_and_its_parts(
    tmp_path: Path, scopes: tuple[str, ...], asked: str, allowed: bool
) -> None:
    key = Key("k", write_new_key(tmp_path / "key.pem"), scopes=scopes)
    assert key.allows(asked) is allowed


def test_a_user_may_have_several_keys(tmp_path: Path) -> None:
    access = Access(ManualClock())
    first, second, other = (write_new_key(tmp_path / f"{number}.pem") for number in range(3))
    access.register("first", first, "ann")
    access.add(Key("second", second, "ann", "recorder", ("read",)))
    access.register("other", other)
    assert [key.key_id for key in access.keys_of("ann")] == ["first", "second"]
    assert access.audience("second") == ("ann", None)
    assert access.audience("other") == (USER, None)
    whole = access.key("first")
    assert whole is not None
    assert whole.scopes == ("read", "write")


def test_a_revoked_key_opens_nothing(tmp_path: Path) -> None:
    clock = ManualClock()
    access = Access(clock)
    access.register("mine", write_new_key(tmp_path / "key.pem"))
    key = ApiKey.load("mine", tmp_path / "key.pem")
    headers = key.headers("GET", f"http://127.0.0.1{PATH}", clock.wall_ns())
    assert access.check(headers, "GET", PATH) == "mine"
    access.revoke("mine")
    denied = access.check(headers, "GET", PATH)
    assert isinstance(denied, Denied)
    assert (denied.status, denied.body["error"]["details"]) == (401, "NOT_FOUND")  # type: ignore[index]
    assert access.key("mine") is None
