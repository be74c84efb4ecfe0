"""REST of order groups, the venue's own brake (protocol section 5.7). All of it is signed."""

from __future__ import annotations

from kflow.exchange.accounts import Account
from kflow.exchange.answers import integer, invalid, not_found
from kflow.exchange.documents import Document
from kflow.exchange.fields import Fields, need
from kflow.exchange.gate import READ, TRADE, Call, Endpoint, Gate
from kflow.exchange.groups import OrderGroup
from kflow.exchange.messages import size_text
from kflow.units import CONTRACT, Size


class OrderGroups:
    """Order groups of the callers' accounts."""

    def __init__(self, gate: Gate) -> None:
        self._gate, self._desk = gate, gate.desk

    def endpoints(self) -> list[Endpoint]:
        groups, group = "/portfolio/order_groups", "/portfolio/order_groups/{group_id}"
        return [
            Endpoint("GET", groups, self.groups, READ),
            Endpoint("POST", f"{groups}/create", self.create, TRADE, 201),
            Endpoint("GET", group, self.group, READ),
            Endpoint("DELETE", group, self.delete, TRADE),
            Endpoint("PUT", f"{group}/trigger", self.trigger, TRADE),
            Endpoint("PUT", f"{group}/reset", self.reset, TRADE),
            Endpoint("PUT", f"{group}/limit", self.limit, TRADE),
        ]

    def create(self, call: Call) -> Document:
        fields = call.fields()
        account = self._gate.account(
            call, fields.subaccount() if fields.has("subaccount") else call.key.subaccount or 0
        )
        shard = fields.shard() or 0
        group = self._desk.create_group(account, _limit(fields), shard)
        return {"order_group_id": group.group_id, "subaccount": account.subaccount, "exchange_index": shard}

    def groups(self, call: Call) -> Document:
        groups = [group for account in self._gate.accounts(call) for group in self._desk.groups_of(account).values()]
        return {"order_groups": [{"id": group.group_id, **_document(group)} for group in groups]}

    def group(self, call: Call) -> Document:
        group_id = call.parameter("group_id")
        for account in self._gate.accounts(call):
            group = self._desk.groups_of(account).get(group_id)
            if group is not None:
                orders = [o.order_id for o in account.open_orders() if o.ticket.group_id == group_id]
                return _document(group) | {"orders": orders}
        raise not_found(f"order group {group_id}")

    def delete(self, call: Call) -> Document:
        self._desk.delete(*self._found(call))
        return {}

    def trigger(self, call: Call) -> Document:
        self._desk.trigger(*self._found(call))
        return {}

    def reset(self, call: Call) -> Document:
        self._desk.reset(*self._found(call))
        return {}

    def limit(self, call: Call) -> Document:
        wanted = _limit(call.fields())
        self._desk.limit(*self._found(call), wanted)
        return {}

    def _found(self, call: Call) -> tuple[Account, str]:
        """A group where the caller looks for it: subaccount and shard are 0 unless the query says otherwise."""
        group_id = call.parameter("group_id")
        account = self._gate.account(call, call.subaccount() or 0)
        shard = integer(call.query, "exchange_index", 0)
        if shard not in (-1, self._desk.group(account, group_id).shard):
            raise not_found(f"order group {group_id} on exchange_index {shard}")
        return account, group_id


def _limit(fields: Fields) -> Size:
    """`contracts_limit`, whole, or `contracts_limit_fp`; both must say the same."""
    exact, whole = fields.size("contracts_limit_fp"), fields.integer("contracts_limit")
    if exact is not None and whole is not None and whole * CONTRACT != exact:
        raise invalid("contracts_limit and contracts_limit_fp differ")
    if exact is None:
        exact = Size(need(whole, "contracts_limit_fp") * CONTRACT)
    return exact


def _document(group: OrderGroup) -> Document:
    return {
        "is_auto_cancel_enabled": True,  # a group without it is not known
        "contracts_limit_fp": size_text(group.limit),
        "exchange_index": group.shard,
    }
