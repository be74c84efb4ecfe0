"""REST of subaccounts and shards: opening them, and moving cash between them (protocol sections 5.6 and 5.8)."""

from __future__ import annotations

from typing import Final
from uuid import UUID, uuid4

from kflow.exchange.answers import error, invalid, limit, not_found, page
from kflow.exchange.documents import Document
from kflow.exchange.fields import Fields, need
from kflow.exchange.gate import READ, TRANSFER, Call, Endpoint, Gate
from kflow.exchange.order_documents import CENT
from kflow.exchange.portfolio import BALANCE
from kflow.market.times import US_PER_S
from kflow.units import Money, format_money

# 1e-4 dollar, the unit of transfers between shards.
_CENTICENT: Final = 100
_MOST_SUBACCOUNTS: Final = 63
# Shards that the venue has: the first one, combos, crypto, tennis. Elsewhere cash would be of no use.
_SHARDS: Final = range(4)
_INSTANCES: Final = {"event_contract": "event_contract", "margined": "margined"}


class _Moves:
    """A user's transfers, newest first, and the ids their sender gave them."""

    def __init__(self) -> None:
        self.between_subaccounts: list[Document] = []
        self.between_shards: list[Document] = []
        self.by_client_id: dict[str, str] = {}


class Subaccounts:
    """Where the callers' cash lies."""

    def __init__(self, gate: Gate) -> None:
        self._gate, self._desk = gate, gate.desk
        self._moves: dict[str, _Moves] = {}

    def endpoints(self) -> list[Endpoint]:
        subaccounts, shards = "/portfolio/subaccounts", "/portfolio/intra_exchange_instance_transfers"
        return [
            Endpoint("POST", subaccounts, self.open, TRANSFER, 201),
            Endpoint("GET", f"{subaccounts}/balances", self.balances, BALANCE),
            Endpoint("GET", f"{subaccounts}/netting", self.netting, READ),
            Endpoint("PUT", f"{subaccounts}/netting", self.set_netting, TRANSFER),
            Endpoint("POST", f"{subaccounts}/transfer", self.transfer, TRANSFER),
            Endpoint("GET", f"{subaccounts}/transfers", self.transfers, READ),
            Endpoint("POST", shards.removesuffix("s"), self.shard_transfer, TRANSFER),
            Endpoint("GET", shards, self.shard_transfers, READ),
            Endpoint("GET", shards + "/{transfer_id}", self.one_shard_transfer, READ),
            Endpoint("GET", "/portfolio/target_balance_allocation", self.allocation, READ),
            Endpoint("POST", "/portfolio/target_balance_allocation", self.set_allocation, TRANSFER),
        ]

    def open(self, call: Call) -> Document:
        member = self._desk.member(call.user_id)
        call.own(max(member.accounts) + 1)
        if max(member.accounts) >= _MOST_SUBACCOUNTS:
            raise invalid(f"there are {_MOST_SUBACCOUNTS} subaccounts already")
        return {"subaccount_number": self._desk.open_subaccount(member).subaccount}

    def balances(self, call: Call) -> Document:
        return {
            "subaccount_balances": [
                {
                    "subaccount_number": account.subaccount,
                    "exchange_index": shard,
                    "balance": format_money(cash),
                    "updated_ts": self._gate.as_of_us() // US_PER_S,
                }
                for account in self._gate.accounts(call)
                for shard, cash in sorted(self._desk.reads(account).balances.items())
            ]
        }

    def netting(self, call: Call) -> Document:
        return {
            "netting_configs": [
                {"subaccount_number": account.subaccount, "enabled": True, "exchange_index": shard}
                for account in self._gate.accounts(call)
                for shard in sorted(account.cash)
            ]
        }

    def set_netting(self, call: Call) -> None:
        """Positions are always netted here; asking for anything else is refused rather than ignored."""
        fields = call.fields()
        self._gate.account(call, need(fields.integer("subaccount_number"), "subaccount_number"))
        if not fields.has("enabled") or not fields.flag("enabled"):
            raise invalid("enabled must be true: this exchange nets all positions")

    # Between subaccounts.

    def transfer(self, call: Call) -> Document:
        fields = call.fields()
        client_id = _uuid(need(fields.text("client_transfer_id"), "client_transfer_id"))
        ends = tuple(call.own(need(fields.integer(name), name)) for name in ("from_subaccount", "to_subaccount"))
        cents, shard = _amount(fields, "amount_cents"), fields.shard() or 0
        moves = self._of(call)
        if client_id in moves.by_client_id:
            return {}
        source, target = ends
        if source == target:
            raise invalid("from_subaccount and to_subaccount are the same")
        self._desk.move(self._desk.member(call.user_id), (source, target), Money(cents * CENT), shard)
        transfer_id = str(uuid4())
        document: Document = {
            "transfer_id": transfer_id,
            "from_subaccount": source,
            "to_subaccount": target,
            "amount_cents": cents,
            "created_ts": self._now_s(),
            "exchange_index": shard,
        }
        moves.by_client_id[client_id] = transfer_id
        moves.between_subaccounts.insert(0, document)
        return {}

    def transfers(self, call: Call) -> Document:
        return self._page(call, "transfers", self._of(call).between_subaccounts, 1000)

    # Between shards.

    def shard_transfer(self, call: Call) -> Document:
        fields, moves = call.fields(), self._of(call)
        for name in ("source", "destination"):
            if need(fields.choice(name, _INSTANCES), name) != "event_contract":
                raise invalid(f"{name} must be event_contract: the margined exchange is not here")
        client_id = fields.text("client_transfer_id")
        if client_id is not None and _uuid(client_id) in moves.by_client_id:
            return {"transfer_id": moves.by_client_id[_uuid(client_id)]}
        amount = Money(_amount(fields, "amount") * _CENTICENT)
        source, target = _ends(fields, "exchange_shard")
        if target not in _SHARDS:
            raise invalid(f"there is no exchange shard {target}")
        self._shift(call, fields, (source, target), amount)
        transfer_id = str(uuid4())
        moves.between_shards.insert(
            0,
            {
                "transfer_id": transfer_id,
                "source": "event_contract",
                "destination": "event_contract",
                "source_exchange_shard": source,
                "destination_exchange_shard": target,
                "amount": format_money(amount),
                "status": "complete",
                "created_ts": self._now_s(),
            },
        )
        if client_id is not None:
            moves.by_client_id[_uuid(client_id)] = transfer_id
        return {"transfer_id": transfer_id}

    def _shift(self, call: Call, fields: Fields, shards: tuple[int, int], amount: Money) -> None:
        """Move cash to another shard, and on from there to another subaccount where one is named."""
        source, target = _ends(fields, "subaccount")
        account = self._gate.account(call, source)
        self._gate.account(call, target)
        if shards[0] == shards[1] and source == target:
            raise invalid("source and destination are the same")
        if shards[0] != shards[1]:
            self._desk.transfer(account, shards, amount)
        if source != target:
            self._desk.move(self._desk.member(call.user_id), (source, target), amount, shards[1])

    def shard_transfers(self, call: Call) -> Document:
        return self._page(call, "transfers", self._of(call).between_shards, 500)

    def one_shard_transfer(self, call: Call) -> Document:
        transfer_id = call.parameter("transfer_id")
        for document in self._of(call).between_shards:
            if document["transfer_id"] == transfer_id:
                return {"transfer": document}
        raise not_found(f"transfer {transfer_id}")

    def allocation(self, _: Call) -> Document:
        return {"allocations": [], "resting_margin_reservation": "sum"}

    def set_allocation(self, call: Call) -> Document:
        """Cash stays where it is put; any other wish is refused rather than ignored."""
        fields = call.fields()
        wished = [
            (entry.integer("exchange_index"), entry.integer("percent")) for entry in fields.objects("allocations")
        ]
        reservation = fields.choice("resting_margin_reservation", {"none": "none", "max": "max", "sum": "sum"})
        if wished not in ([], [(0, 100)]) or reservation not in (None, "sum"):
            raise error(403, "forbidden", "this exchange does not move cash between shards by itself")
        return {}

    def _of(self, call: Call) -> _Moves:
        return self._moves.setdefault(call.user_id, _Moves())

    @staticmethod
    def _page(call: Call, name: str, documents: list[Document], most: int) -> Document:
        size = limit(call.query, 100, most)
        shown, cursor = page(call.query, documents, size, lambda document: str(document["transfer_id"]))
        return {name: shown, "cursor": cursor}

    def _now_s(self) -> int:
        return self._desk.clearing.time() // US_PER_S


def _ends(fields: Fields, what: str) -> tuple[int, int]:
    source, target = [fields.subaccount(f"{end}_{what}") for end in ("source", "destination")]
    return source, target


def _amount(fields: Fields, name: str) -> int:
    amount = need(fields.integer(name), name)
    if amount <= 0:
        raise invalid(f"{name} must be positive")
    return amount


def _uuid(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise invalid("client_transfer_id must be a UUID") from None
