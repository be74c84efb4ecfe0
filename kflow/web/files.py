"""The page's files: read once, and served from memory by name, so no request ever reaches the disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

INDEX: Final = "index.html"
# What is in the folder and has none of these endings is not served.
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    "": "text/plain; charset=utf-8",  # licences
}
# Our own scripts and styles, our own stream, and nothing of anybody else; no inline script, whatever a market is named.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Files:
    """What may be asked for, by name: a table made when the service starts."""

    def __init__(self) -> None:
        self._files: Final[Mapping[str, tuple[bytes, dict[str, str]]]] = {
            name: (content, _headers(kind, content)) for name, kind, content in _found()
        }

    @property
    def names(self) -> list[str]:
        return sorted(self._files)

    async def index(self, request: Request) -> Response:
        return self._answer(INDEX, request)

    async def named(self, request: Request) -> Response:
        return self._answer(request.path_params["name"], request)

    def _answer(self, name: str, request: Request) -> Response:
        found = self._files.get(name)
        if found is None:
            raise HTTPException(404, "the page has no such file")
        content, headers = found
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(None, 304, headers)
        return Response(content, 200, headers)


def _found() -> Iterator[tuple[str, str, bytes]]:
    return _below(files("kflow.web") / "page", PurePosixPath())


def _below(folder: Traversable, at: PurePosixPath) -> Iterator[tuple[str, str, bytes]]:
    for file in folder.iterdir():
        path = at / file.name
        if file.is_dir():
            yield from _below(file, path)
        elif path.suffix in _TYPES:
            yield str(path), _TYPES[path.suffix], file.read_bytes()


def _headers(kind: str, content: bytes) -> dict[str, str]:
    return {
        "content-type": kind,
        "content-security-policy": _POLICY,
        # Kept by the browser, and asked for each time: a new version is never mixed with an old one.
        "cache-control": "no-cache",
        "etag": f'"{hashlib.sha256(content).hexdigest()[:32]}"',
    }
