"""What REST rooms share: refusals, query parameters, pages, and how an answer is made."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from email.utils import formatdate
from functools import lru_cache
from itertools import dropwhile, islice
from typing import Final, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from kflow.clock import NS_PER_S, Clock
from kflow.exchange.documents import Document
from kflow.market.times import US_PER_S

PREFIX: Final = "/trade-api/v2"

Item = TypeVar("Item")


class Refusal(HTTPException):
    """An error answer with its body; the venue has four shapes of them (section 5.1)."""

    def __init__(self, status: int, body: Document) -> None:
        self.body = body
        super().__init__(status)


def error(status: int, code: str, details: str) -> Refusal:
    """The commonest shape. The message says the code in words: the venue's own texts are not known."""
    return Refusal(status, {"error": {"code": code, "message": code.replace("_", " "), "details": details}})


def not_found(what: str) -> Refusal:
    return error(404, "not_found", what)


def invalid(details: str) -> Refusal:
    """The flat shape, for what does not even parse."""
    return Refusal(400, {"code": "invalid_parameters", "message": "Parameter validation failed", "details": details})


def integer(query: QueryParams, name: str, default: int | None = None) -> int | None:
    text = query.get(name)
    if text is None or text == "":
        return default
    if not (text.isascii() and text.removeprefix("-").isdecimal()) or len(text) > 18:
        raise invalid(f"{name} must be an integer")
    return int(text)


def limit(query: QueryParams, default: int, most: int) -> int:
    """How many items a page may have. More than `most` is refused, not cut."""
    wanted = integer(query, "limit", default)
    assert wanted is not None, "there is a default"
    if wanted > most:
        raise Refusal(400, {"msg": f"limit must not exceed {most}"})
    if wanted < 1:
        raise invalid("limit must be at least 1")
    return wanted


def names(query: QueryParams, parameter: str, most: int) -> frozenset[str] | None:
    """A comma list, repeated or not; None where it is absent or empty."""
    listed = [name for entry in query.getlist(parameter) for name in entry.split(",") if name]
    if len(listed) > most:
        raise invalid(f"at most {most} of {parameter}")
    return frozenset(listed) or None


def page(
    query: QueryParams,
    items: Sequence[Item],
    most: int,
    key: Callable[[Item], str],
    every: Sequence[Item] | None = None,
) -> tuple[list[Item], str]:
    """A page and the cursor of the next; the cursor names the last item shown, so that new ones shift nothing.

    `every`: what `items` were chosen from, in the same order, where an item may cease to be chosen between two pages.
    """
    cursor = query.get("cursor")
    if cursor:
        try:
            last = base64.b64decode(cursor, b"-_", validate=True).decode()
        except ValueError:
            raise invalid("cursor is not one of ours") from None
        after = dropwhile(lambda name: name != last, map(key, items if every is None else every))
        following = set(islice(after, 1, None))
        items = [item for item in items if key(item) in following]
    shown = list(items[:most])
    more = most < len(items)
    return shown, base64.urlsafe_b64encode(key(shown[-1]).encode()).decode() if shown and more else ""


def within(moment_us: int, low_s: int | None, high_s: int | None) -> bool:
    """Whether a moment lies between two seconds, both included."""
    return (low_s is None or moment_us >= low_s * US_PER_S) and (high_s is None or moment_us <= high_s * US_PER_S)


def respond(document: Document | None, status: int, clock: Clock) -> Response:
    """An answer with the exchange's own Date: a client compares its clock with it. None: no body."""
    date = {"Date": _date(clock.wall_ns() // NS_PER_S)}
    if document is None:
        return Response(None, status, date)
    return Response(msgspec.json.encode(document), status, date, "application/json")


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    """Once for all that is answered in a second."""
    return formatdate(second, usegmt=True)


class Lost(Response):
    """No answer: the connection is reset in its place."""

    async def __call__(self, scope: Scope, receive: Receive, _: Send) -> None:
        transport = scope.get("transport")
        assert transport is not None, "served by our own application"
        transport.abort()
        while (await receive())["type"] != "http.disconnect":
            pass
        if self.background is not None:
            await self.background()


class _Application(Starlette):
    """Knows the connection of each request, for answers that are lost."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["transport"] = getattr(getattr(send, "__self__", None), "transport", None)
        await super().__call__(scope, receive, send)


def application(routes: Sequence[Route], clock: Clock) -> Starlette:
    """The REST half of the exchange."""

    async def refused(_: Request, problem: Exception) -> Response:
        assert isinstance(problem, HTTPException)
        if isinstance(problem, Refusal):
            return respond(problem.body, problem.status_code, clock)
        word = "not_found" if problem.status_code == 404 else "invalid_request"
        body = {"error": {"code": word, "message": str(problem.detail)}}
        return respond(body, problem.status_code, clock)

    async def left(_: Request, __: Exception) -> Response:
        """Nobody is there any more to answer."""
        return Response(None, 400)

    made = _Application(routes=list(routes), exception_handlers={HTTPException: refused, ClientDisconnect: left})
    made.router.redirect_slashes = False  # a signature is for one path: nobody could follow
    return made
