"""What goes wrong with orders on purpose: answers that are late, lost or nonsense, and what the venue does by itself.

The gate asks here for every signed request; the exchange's own time asks what the venue is to do (`tick`).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Awaitable, Callable
from fnmatch import fnmatchcase
from typing import Final

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from kflow.clock import NS_PER_S, Clock
from kflow.exchange.accounts import Ticket
from kflow.exchange.answers import PREFIX, Lost, error, respond
from kflow.exchange.control import Control
from kflow.exchange.documents import Document, status_document
from kflow.exchange.faults import Fault, Injector, Kind
from kflow.exchange.gate import Call, Proceed
from kflow.exchange.orders import TimeInForce
from kflow.exchange.terms import OrderRefused
from kflow.exchange.truth import TruthLog
from kflow.market.events import Side
from kflow.units import CONTRACT, Size

_ORDERS: Final = "/portfolio/events/orders"
_BATCH: Final = f"{_ORDERS}/batched"
# Names that a script may call requests by; the first that fits is the request's.
COMMANDS: Final = {
    "create": f"POST {_ORDERS}",
    "batch_create": f"POST {_BATCH}",
    "batch_cancel": f"DELETE {_BATCH}",
    "cancel_all": f"DELETE {_ORDERS}",
    "cancel": f"DELETE {_ORDERS}/*",
    "amend": f"POST {_ORDERS}/*/amend",
    "decrease": f"POST {_ORDERS}/*/decrease",
}
_PAGE: Final = (
    b"<!DOCTYPE html>\n<html><head><title>Please wait</title></head><body><h1>One moment</h1></body></html>\n"
)
_LATE_S: Final = 10.0
_PAUSE_S: Final = 60.0


class _Severed(Lost):
    """No answer: the connection ends with a reset, or as if the server had nothing to say."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self._reset = how == "reset"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sock = scope["transport"].get_extra_info("socket")
        if self._reset and sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await super().__call__(scope, receive, send)


class TradeFaults:
    """Carries out the faults of requests and of the venue for one exchange, and tells the truth log of both."""

    def __init__(self, injector: Injector, control: Control, truth: TruthLog, clock: Clock) -> None:
        self._injector, self._control, self._truth, self._clock = injector, control, truth, clock
        self._resume_ns: int | None = None
        self._answers: dict[Kind, Callable[[Fault, Proceed], Awaitable[Response]]] = {
            Kind.LATE_ACK: self._late,
            Kind.FILL_FIRST: self._fill_first,
            Kind.CONTENT_TYPE: self._mislabelled,
        }
        self._acts: dict[Kind, Callable[[Fault], None]] = {
            Kind.PAUSE: self._pause,
            Kind.CLOSE_EARLY: self._close,
            Kind.RETICK: self._retick,
            Kind.OUTSIDE_ORDER: self._outside,
        }

    # Requests.

    async def answer(self, call: Call, proceed: Proceed) -> Response:
        """Answer a signed request, as a fault would have it or as `proceed` does."""

        async def carry_out() -> Response:
            response = await proceed()
            if call.request.method != "GET" and response.status_code < 300:
                await self._carried_out(call, bytes(response.body))
            return response

        if not self._injector.awaits_requests():
            return await carry_out()
        method, path = call.request.method, _path(call)
        name = command_of(method, path)

        def fits(fault: Fault) -> bool:
            wanted = fault.command or "create"
            return wanted in (name, "read" if method == "GET" else "write") or fnmatchcase(f"{method} {path}", wanted)

        fault = self._injector.request(fits, {"request": f"{method} {path}", "user": call.user_id})
        if fault is None:
            return await carry_out()
        return await self._answers.get(fault.kind, self._instead)(fault, carry_out)

    async def _carried_out(self, call: Call, answer: bytes) -> None:
        method, path = call.request.method, _path(call)
        if method == "POST" and path in (_ORDERS, _BATCH):
            self._injector.orders += 1 if path == _ORDERS else _placed(answer)
            self.tick()
        if self._truth.keeps:
            command = {
                "command": command_of(method, path) or f"{method} {PREFIX}{path}",
                "path": PREFIX + path,
                "user": call.user_id,
                "key_id": call.key.key_id,
                "request": (await call.request.body()).decode(errors="replace"),
                "answer": msgspec.json.decode(answer) if answer else None,
            }
            self._truth.trading(command)

    async def _late(self, fault: Fault, proceed: Proceed) -> Response:
        response = await self._fill_first(fault, proceed)
        await self._clock.sleep(_LATE_S if fault.seconds is None else fault.seconds)
        return response

    async def _fill_first(self, _: Fault, proceed: Proceed) -> Response:
        response = await proceed()
        self._control.desk.flush()
        return response

    async def _mislabelled(self, _: Fault, proceed: Proceed) -> Response:
        response = await proceed()
        response.headers["Content-Type"] = "text/html; charset=utf-8"
        return response

    async def _instead(self, fault: Fault, proceed: Proceed) -> Response:
        """An answer that says nothing of what was done, if anything was."""
        if fault.accepted:
            await proceed()
        if fault.kind is Kind.LOST_ACK:
            return _Severed(fault.how)
        if fault.kind is Kind.NO_ORDER:
            return respond({}, fault.answer, self._clock)
        if fault.kind is Kind.HTML:
            return Response(_PAGE, fault.answer, media_type="text/html")
        if fault.kind is Kind.DEPRECATED:
            gone = error(410, "deprecated_v1_order_endpoint", "use /portfolio/events/orders")
            return respond(gone.body, 410, self._clock)
        return respond(_error_body(fault.answer), fault.answer, self._clock)

    # The venue.

    def tick(self) -> None:
        """Let the venue do what is due. What it says of it goes out with the next flush."""
        if self._resume_ns is not None and self._clock.mono_ns() >= self._resume_ns:
            self._resume_ns = None
            self._control.resume()
        for fault in self._injector.acts():
            self._acts[fault.kind](fault)

    def _pause(self, fault: Fault) -> None:
        seconds = _PAUSE_S if fault.seconds is None else fault.seconds
        self._resume_ns = self._clock.mono_ns() + round(seconds * NS_PER_S)
        self._control.pause(exchange=fault.how == "exchange")

    def _close(self, fault: Fault) -> None:
        for ticker in self._tickers(fault):
            self._control.move_close(ticker, self._control.clearing.time())

    def _retick(self, fault: Fault) -> None:
        for ticker in self._tickers(fault):
            self._control.retick(ticker, fault.structure)

    def _outside(self, fault: Fault) -> None:
        """At any price there is, as somebody does who presses the button of an app."""
        desk = self._control.desk
        side = Side.YES if fault.side == "yes" else Side.NO
        ticker = self._tickers(fault)[0]
        prices = desk.clearing.markets[ticker].engine.grid.prices()
        ticket = Ticket(
            ticker=ticker,
            side=side,
            price=prices[-1] if side == Side.YES else prices[0],
            size=Size((fault.count or 1) * CONTRACT),
            time_in_force=TimeInForce.IOC,
        )
        try:
            desk.create(desk.account(next(iter(desk.members))), ticket)
        except OrderRefused as refused:
            self._truth.fault(0, {"fault": fault.kind.value, "refused": str(refused)})

    def _tickers(self, fault: Fault) -> list[str]:
        """The market that is named, or every one."""
        return [fault.market] if fault.market is not None else list(self._control.clearing.markets)


def command_of(method: str, path: str) -> str:
    """The name of a request in `COMMANDS`; empty where it has none."""
    request = f"{method} {path}"
    return next((name for name, pattern in COMMANDS.items() if fnmatchcase(request, pattern)), "")


def _path(call: Call) -> str:
    """Of the request, below the prefix. Starlette's `url` would be parsed anew for each."""
    path: str = call.request.scope["path"]
    return path.removeprefix(PREFIX)


def _placed(answer: bytes) -> int:
    """Orders that the answer to a batch of creates says were placed."""
    return sum("error" not in entry for entry in msgspec.json.decode(answer)["orders"])


def _error_body(status: int) -> Document:
    if status == 429:
        return {"error": "too many requests"}
    if status == 502:
        return {"error": {"code": "bad_gateway", "message": "bad gateway"}}
    return status_document() | {"exchange_active": False, "trading_active": False}
