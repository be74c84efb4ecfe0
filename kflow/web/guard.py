"""What stands before every route: Host, Origin, token and size, for HTTP and WebSocket alike.

A page in a browser on this machine can reach loopback. It cannot forge Host (so DNS rebinding is seen), Origin (so
other pages are seen) or our token.
"""

from __future__ import annotations

from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kflow.web.access import Access

BODY_BYTES: Final = 64 * 1024
READS: Final = frozenset({"GET", "HEAD"})
# Nothing we answer may load, frame or be taken for something else, unless its route says what it may (the page).
HEADERS: Final = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}

Refusal = tuple[int, str, str]  # status, what happened, what to do


class Guard:
    """ASGI middleware that lets through only what `access` allows."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        guarded_send = _with_headers(send)
        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, _limited(receive), guarded_send)
        else:
            await _refuse(refusal, scope, receive, guarded_send)

    def _refusal(self, scope: Scope) -> Refusal | None:
        headers, access = Headers(scope=scope), self._access
        host = headers.get("host")
        if host is None or not access.knows(host):
            return 421, "this service does not answer to that Host name", "ask for localhost, or for its IP address"
        stream = scope["type"] == "websocket"
        write = not stream and scope["method"] not in READS
        if (stream or write) and not access.trusts(headers.get("origin"), host):
            return 403, "pages of another origin may not write or open a stream", "use a program, or our own page"
        if (write or access.guarded) and not access.admits(headers.get("authorization")):
            return (
                401,
                "this needs the token",
                "send `Authorization: Bearer …` with the token of web.token_file, or of web-token in the data folder",
            )
        if (length := headers.get("content-length")) and (not length.isdecimal() or int(length) > BODY_BYTES):
            return 413, f"a body of more than {BODY_BYTES} bytes", "nothing here takes so much"
        return None


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            message.setdefault("headers", [])
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sending


def _limited(receive: Receive) -> Receive:
    """Chunked bodies say no length: count them."""
    taken = 0

    async def receiving() -> Message:
        nonlocal taken
        message = await receive()
        if message["type"] == "http.request":
            taken += len(message.get("body", b""))
            if taken > BODY_BYTES:
                raise HTTPException(413, f"a body of more than {BODY_BYTES} bytes")
        return message

    return receiving


async def _refuse(refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    status, error, hint = refusal
    # The body, if there is one, is not read: the connection cannot be used again.
    headers = {"connection": "close"} | ({"www-authenticate": "Bearer"} if status == 401 else {})
    await JSONResponse({"error": error, "hint": hint}, status, headers)(scope, receive, send)
