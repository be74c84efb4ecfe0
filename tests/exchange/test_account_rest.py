"""Limits, costs and API keys over REST."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from kflow.clock import ManualClock, SystemClock
from kflow.exchange.terms import Terms
from kflow.kalshi.auth import ApiKey, PublicKey, write_new_key
from kflow.testing.trader import Trader, narrowed, trading
from kflow.testing.venue import LocalVenue

from . import official
from .official import faults


@pytest.fixture
async def pair() -> AsyncIterator[tuple[LocalVenue, list[Trader]]]:
    async with trading(users=2) as both:
        yield both


def pem(key: Any) -> str:
    data: bytes = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return data.decode()


def loaded(folder: Path, key_id: str, private_key: str) -> ApiKey:
    """A key as a user would load it."""
    path = folder / f"{key_id}.pem"
    path.touch(mode=0o600)
    path.write_text(private_key)
    return ApiKey.load(key_id, path)


# Limits.


async def test_limits_are_those_of_the_tier() -> None:
    async with trading(users=1, terms=Terms(tier="premier")) as (_, [ann]):
        limits = await ann.get("/account/limits")
        assert faults(limits, official.LIMITS) == []
        assert faults(limits["read"], official.BUCKET) == faults(limits["write"], official.BUCKET) == []
        assert limits == {
            "usage_tier": "premier",
            "read": {"refill_rate": 1200, "bucket_capacity": 1200},
            "write": {"refill_rate": 1200, "bucket_capacity": 2400},
            "grants": [],
        }


async def test_every_cost_that_is_listed_is_that_of_a_route(pair: tuple[LocalVenue, list[Trader]]) -> None:
    """Paths are whole and have `:name` where routes have a parameter: a client matches requests against them."""
    venue, [ann, _] = pair
    document = (await ann.public("/account/endpoint_costs")).json()
    assert document["default_cost"] == 10
    assert [faults(entry, official.ENDPOINT_COST) for entry in document["endpoint_costs"]] == [
        [] for _ in document["endpoint_costs"]
    ]
    for entry in document["endpoint_costs"]:
        path = re.sub(r":\w+", "x", entry["path"]).removeprefix("/trade-api/v2")
        response = await ann.send(entry["method"], path, {})
        assert response.status_code != 405, entry
        # A path that leads nowhere is a 404 without details.
        assert response.status_code != 404 or "details" in response.json()["error"], entry
    assert venue.exchange.gate.throttle.free


async def test_basic_can_be_upgraded_once_an_order_has_come() -> None:
    clock = ManualClock(wall_ns=SystemClock().wall_ns())
    async with trading(users=1, clock=clock, terms=Terms(tier="basic")) as (_, [ann]):
        path = "/account/api_usage_level/upgrade"
        assert (await ann.send("POST", path)).status_code == 403
        await ann.order("bid", "0.42", "1")
        response = await ann.send("POST", path)
        assert (response.status_code, response.json()) == (201, {})
        assert (await ann.get("/account/limits"))["usage_tier"] == "advanced"
        assert (await ann.send("POST", path)).status_code == 201
        assert (await ann.get("/account/limits"))["usage_tier"] == "advanced"
        assert await ann.get("/account/api_usage_level/volume_progress") == {"volume_progress": []}


# Keys.


async def test_a_key_of_ones_own_making(ann: Trader, tmp_path: Path) -> None:
    public: PublicKey = write_new_key(tmp_path / "own.pem")
    response = await ann.send("POST", "/api_keys", {"name": "recorder", "public_key": pem(public), "scopes": ["read"]})
    assert response.status_code == 201
    key_id = response.json()["api_key_id"]
    recorder = ann.with_key(ApiKey.load(key_id, tmp_path / "own.pem"))
    assert (await recorder.get("/portfolio/balance"))["balance"] == 1_000_000
    assert (await recorder.create("bid", "0.42", "1")).status_code == 403
    listed = (await ann.get("/api_keys"))["api_keys"]
    assert [faults(key, official.API_KEY) for key in listed] == [[], []]
    assert listed[1] == {"api_key_id": key_id, "name": "recorder", "scopes": ["read"]}


@pytest.mark.parametrize(
    ("kind", "header", "algorithm"),
    [
        (None, "-----BEGIN RSA PRIVATE KEY-----", "RSA"),
        ("rsa", "-----BEGIN RSA PRIVATE KEY-----", "RSA"),
        ("ed25519", "-----BEGIN PRIVATE KEY-----", "Ed25519"),
    ],
)
async def test_a_key_that_the_exchange_makes(
    ann: Trader, tmp_path: Path, kind: str | None, header: str, algorithm: str
) -> None:
    response = await ann.send("POST", "/api_keys/generate", {"name": "made", "key_type": kind})
    assert response.status_code == 201
    made = response.json()
    assert made["private_key"].startswith(header)
    key = loaded(tmp_path, made["api_key_id"], made["private_key"])
    assert key.algorithm == algorithm
    assert (await ann.with_key(key).order("bid", "0.42", "1"))["remaining_count"] == "1.00"
    listed = (await ann.get("/api_keys"))["api_keys"]
    assert (listed[-1]["scopes"], "private_key" in listed[-1]) == (["read", "write"], False)


async def test_a_deleted_key_opens_nothing(ann: Trader, bob: Trader, tmp_path: Path) -> None:
    made = (await ann.send("POST", "/api_keys/generate", {"name": "brief", "key_type": "ed25519"})).json()
    path = f"/api_keys/{made['api_key_id']}"
    assert (await bob.send("DELETE", path)).status_code == 404
    response = await ann.send("DELETE", path)
    assert (response.status_code, response.content) == (204, b"")
    key = loaded(tmp_path, made["api_key_id"], made["private_key"])
    assert (await ann.with_key(key).send("GET", "/portfolio/balance")).status_code == 401
    assert (await ann.send("DELETE", path)).status_code == 404


async def test_keys_are_seen_by_their_user_alone(ann: Trader, bob: Trader) -> None:
    [mine], [his] = [(await trader.get("/api_keys"))["api_keys"] for trader in (ann, bob)]
    assert (mine["api_key_id"], his["api_key_id"]) == (ann.key.key_id, bob.key.key_id)


async def test_a_key_may_be_for_one_subaccount(ann: Trader, tmp_path: Path) -> None:
    await ann.send("POST", "/portfolio/subaccounts")
    body = {"name": "one", "public_key": pem(write_new_key(tmp_path / "one.pem")), "subaccount": 1}
    key_id = (await ann.send("POST", "/api_keys", body)).json()["api_key_id"]
    narrow = ann.with_key(ApiKey.load(key_id, tmp_path / "one.pem"))
    assert (await narrow.get("/portfolio/balance"))["balance"] == 0
    assert (await narrow.send("GET", "/portfolio/balance", subaccount=0)).status_code == 403
    assert (await ann.get("/api_keys"))["api_keys"][-1]["subaccount"] == 1
    assert (await ann.send("POST", "/api_keys", body | {"subaccount": 7})).status_code == 404
    # It begets only its like.
    assert (await narrow.send("POST", "/api_keys", body | {"subaccount": 0})).status_code == 403
    assert (await narrow.send("POST", "/api_keys", body | {"subaccount": None})).status_code == 201
    assert (await ann.get("/api_keys"))["api_keys"][-1]["subaccount"] == 1
    assert (await narrow.send("POST", "/portfolio/subaccounts")).status_code == 403


async def test_what_no_key_may_be(pair: tuple[LocalVenue, list[Trader]], tmp_path: Path) -> None:
    venue, [ann, _] = pair
    good = {"name": "n", "public_key": pem(write_new_key(tmp_path / "good.pem"))}
    foreign = pem(generate_private_key(SECP256R1()).public_key())
    for change in (
        {"name": None},
        {"name": 7},
        {"public_key": None},
        {"public_key": "words"},
        {"public_key": foreign},
        {"scopes": ["write"]},
        {"scopes": ["everything"]},
        {"scopes": "read"},
        {"scopes": [1]},
    ):
        response = await ann.send("POST", "/api_keys", good | change)
        assert (response.status_code, response.json()["code"]) == (400, "invalid_parameters"), change
    assert (await ann.send("POST", "/api_keys/generate", {"name": "n", "key_type": "dsa"})).status_code == 400
    reader = narrowed(venue.exchange.access, ann, "read")
    assert (await reader.send("POST", "/api_keys", good)).status_code == 403
    assert len((await ann.get("/api_keys"))["api_keys"]) == 2  # the first, and the reader
