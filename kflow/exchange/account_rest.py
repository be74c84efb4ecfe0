"""REST of a user's account: rate limits, what requests cost, API keys (protocol sections 2.4 and 5.2)."""

from __future__ import annotations

from typing import Final
from uuid import uuid4

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, generate_private_key
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kflow.exchange.access import FULL_ACCESS, SCOPES, Key, PublicKey
from kflow.exchange.answers import PREFIX, error, invalid, not_found, respond
from kflow.exchange.documents import Document
from kflow.exchange.fields import Fields, need
from kflow.exchange.gate import READ, Call, Endpoint, Gate
from kflow.exchange.throttle import costs_document
from kflow.kalshi.auth import PrivateKey

WRITE: Final = "write"
_RSA_BITS: Final = 2048
_KEY_TYPES: Final = {"rsa": "rsa", "ed25519": "ed25519"}


class AccountRest:
    """Limits and keys of the callers."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint("GET", "/account/limits", self.limits, READ),
            Endpoint("GET", "/account/api_usage_level/volume_progress", self.volume_progress, READ),
            Endpoint("POST", "/account/api_usage_level/upgrade", self.upgrade, WRITE, 201),
            Endpoint("GET", "/api_keys", self.keys, READ),
            Endpoint("POST", "/api_keys", self.add_key, WRITE, 201),
            Endpoint("POST", "/api_keys/generate", self.generate_key, WRITE, 201),
            Endpoint("DELETE", "/api_keys/{key_id}", self.delete_key, WRITE, 204),
        ]

    def public_routes(self) -> list[Route]:
        async def costs(request: Request) -> Response:
            self._gate.charge_public(request)
            return respond(costs_document(), 200, self._gate.clock)

        return [Route(f"{PREFIX}/account/endpoint_costs", costs, methods=["GET"])]

    # Limits.

    def limits(self, call: Call) -> Document:
        return self._gate.throttle.limits(call.user_id)

    def volume_progress(self, _: Call) -> Document:
        """No tier is earned by volume here."""
        return {"volume_progress": []}

    def upgrade(self, call: Call) -> Document:
        """To advanced, for whoever has sent an order; a higher tier stays. The body is for a client that wants one."""
        throttle, member = self._gate.throttle, self._gate.desk.member(call.user_id)
        if not any(account.orders for account in member.accounts.values()):
            raise error(403, "forbidden", "no order has come in over the API yet")
        if throttle.tier(call.user_id) == "basic":
            throttle.upgrade(call.user_id, "advanced")
        return {}

    # Keys.

    def keys(self, call: Call) -> Document:
        return {"api_keys": [_key_document(key) for key in self._gate.access.keys_of(call.user_id)]}

    def add_key(self, call: Call) -> Document:
        fields = call.fields()
        return {"api_key_id": self._add(call, fields, _public_key(need(fields.text("public_key"), "public_key")))}

    def generate_key(self, call: Call) -> Document:
        """The private key is in the answer and nowhere else."""
        fields = call.fields()
        kind = fields.choice("key_type", _KEY_TYPES) or "rsa"
        need(fields.text("name"), "name")
        rsa = kind == "rsa"
        private_key: PrivateKey = generate_private_key(65537, _RSA_BITS) if rsa else Ed25519PrivateKey.generate()
        style = serialization.PrivateFormat.TraditionalOpenSSL if rsa else serialization.PrivateFormat.PKCS8
        pem = private_key.private_bytes(serialization.Encoding.PEM, style, serialization.NoEncryption()).decode()
        key_id = self._add(call, fields, private_key.public_key())
        return {"api_key_id": key_id, "private_key": pem, "key_type": kind}

    def _add(self, call: Call, fields: Fields, public_key: PublicKey) -> str:
        """A key that is restricted to a subaccount makes only such keys."""
        name, subaccount = need(fields.text("name"), "name"), fields.integer("subaccount")
        if subaccount is None:
            subaccount = call.key.subaccount
        if subaccount is not None:
            self._gate.account(call, subaccount)
        key = Key(str(uuid4()), public_key, call.user_id, name, _scopes(fields), subaccount)
        return self._gate.access.add(key).key_id

    def delete_key(self, call: Call) -> None:
        key = self._gate.access.key(call.parameter("key_id"))
        if key is None or key.user_id != call.user_id:
            raise not_found(f"api key {call.parameter('key_id')}")
        self._gate.access.revoke(key.key_id)


def _key_document(key: Key) -> Document:
    document: Document = {"api_key_id": key.key_id, "name": key.name, "scopes": list(key.scopes)}
    return document if key.subaccount is None else document | {"subaccount": key.subaccount}


def _scopes(fields: Fields) -> tuple[str, ...]:
    scopes = fields.texts("scopes")
    if not scopes:
        return FULL_ACCESS
    if not set(scopes) <= set(SCOPES):
        raise invalid(f"scopes must be of {', '.join(SCOPES)}")
    if "write" in scopes and "read" not in scopes:
        raise invalid("the scope write requires read")
    return tuple(dict.fromkeys(scopes))


def _public_key(pem: str) -> PublicKey:
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise invalid("public_key must be PEM") from None
    if not isinstance(key, RSAPublicKey | Ed25519PublicKey):
        raise invalid("public_key must be RSA or Ed25519")
    return key
