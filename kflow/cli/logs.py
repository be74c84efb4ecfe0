"""What kflow says on stderr while it works; nothing secret passes through here."""

from __future__ import annotations

import logging
import re
import sys

# Each pattern keeps its first group and hides the rest.
_SECRETS = (
    re.compile(r"(\w+://[^\s:/@]*:)[^\s@]*(?=@)"),  # password in a URL
    re.compile(r"((?:password|passwd|sslpassword)\s*=\s*)(?:'[^']*'|[^\s&;]+)", re.IGNORECASE),  # and in key=value form
    re.compile(r"((?:KALSHI-ACCESS-[A-Z]+|Authorization)['\"]?\s*[:=]\s*)[^\r\n,}]+", re.IGNORECASE),
    re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
)

# Libraries that write headers and full addresses when they are talkative.
_PINNED = ("asyncio", "httpcore", "httpx", "psycopg", "uvicorn", "websockets")


def redact(text: str) -> str:
    """`text` without passwords, signatures and private keys."""
    for pattern in _SECRETS:
        text = pattern.sub(r"\1***", text)
    return text


class _Redacting(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def configure(loudness: int) -> None:
    """Send log lines to stderr: warnings at -1, what happens at 0, details from 1."""
    level = logging.INFO if loudness == 0 else logging.DEBUG if loudness > 0 else logging.WARNING
    if loudness < -1:
        level = logging.ERROR
    handler = logging.StreamHandler(sys.stderr)
    stamped = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    handler.setFormatter(_Redacting(stamped if loudness > 0 else "%(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _PINNED:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
