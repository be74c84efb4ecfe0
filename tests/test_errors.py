"""Every error's text, hint and exit code, in one table."""

from __future__ import annotations

import inspect

import pytest

from kflow import errors
from kflow.errors import (
    BookError,
    ClockSkew,
    ConfigError,
    CredentialError,
    DatabaseError,
    DataError,
    DigestMismatch,
    InstanceLocked,
    JournalError,
    KflowError,
    MalformedFrame,
    ModelError,
    PortTaken,
    RiskHalt,
    SchemaMismatch,
    UnknownTicker,
    Unrepresentable,
    UsageError,
    VenueError,
    VenueRefused,
    VenueUnreachable,
)

PLAIN = [
    (KflowError, 1),
    (UsageError, 2),
    (ConfigError, 3),
    (CredentialError, 3),
    (DatabaseError, 4),
    (VenueError, 5),
    (VenueUnreachable, 5),
    (DataError, 6),
    (MalformedFrame, 6),
    (BookError, 6),
    (JournalError, 6),
    (DigestMismatch, 6),
    (RiskHalt, 7),
    (InstanceLocked, 8),
    (ModelError, 9),
]

SPECIAL = [
    (
        UnknownTicker("NOPE"),
        2,
        "no market, event or series is called NOPE",
        "check the ticker on the venue's site",
    ),
    (
        UnknownTicker("INXD-25JAN03", ("KXINX-26NOV23H1600", "KXINX")),
        2,
        "no market, event or series is called INXD-25JAN03",
        "did you mean KXINX-26NOV23H1600, KXINX?",
    ),
    (
        ClockSkew(61.4),
        3,
        "this machine's clock is 61 s behind the venue's; signed requests would be refused",
        "set the clock (for example: timedatectl set-ntp true), then start again",
    ),
    (
        ClockSkew(-7.0),
        3,
        "this machine's clock is 7 s ahead of the venue's; signed requests would be refused",
        "set the clock (for example: timedatectl set-ntp true), then start again",
    ),
    (
        SchemaMismatch(9, 2),
        3,
        "the database has schema version 9, this kflow knows 2",
        "it was upgraded by a newer kflow: upgrade this one, or point DATABASE_URL elsewhere",
    ),
    (SchemaMismatch(1, 2), 3, "the database has schema version 1, this kflow knows 2", "run: kflow db upgrade"),
    (VenueRefused(404, "not_found", "no such market", hint="look again"), 5, "no such market", "look again"),
    (
        PortTaken("127.0.0.1", 8001),
        5,
        "127.0.0.1:8001 is already in use by another program",
        "choose another with --port (0 takes any free one)",
    ),
    (Unrepresentable("price", "0.12345"), 6, "'0.12345' is not a price", ""),
]


@pytest.mark.parametrize(("error", "code"), PLAIN)
def test_an_error_says_its_message_and_hint(error: type[KflowError], code: int) -> None:
    raised = error("what happened, why", hint="what now")
    assert (str(raised), raised.hint, raised.exit_code) == ("what happened, why", "what now", code)
    assert error("alone").hint == ""


@pytest.mark.parametrize(("error", "code", "text", "hint"), SPECIAL)
def test_an_error_with_facts_words_them(error: KflowError, code: int, text: str, hint: str) -> None:
    assert (error.exit_code, str(error), error.hint) == (code, text, hint)


def test_errors_keep_their_facts() -> None:
    assert UnknownTicker("A", ("B",)).suggestions == ("B",)
    assert ClockSkew(-7.0).offset_s == -7.0
    assert (SchemaMismatch(3, 2).found, SchemaMismatch(3, 2).known) == (3, 2)
    refused = VenueRefused(409, "order_already_exists", "")
    assert (refused.status, refused.code) == (409, "order_already_exists")
    assert (PortTaken("::1", 1).host, PortTaken("::1", 1).port) == ("::1", 1)
    assert (Unrepresentable("size", 1.5).what, Unrepresentable("size", 1.5).text) == ("size", 1.5)


def test_no_error_is_missing_from_these_tables() -> None:
    every = {item for _, item in inspect.getmembers(errors, inspect.isclass) if issubclass(item, KflowError)}
    assert every == {error for error, _ in PLAIN} | {type(error) for error, *_ in SPECIAL}


def test_the_tree_is_drawn_whole() -> None:
    assert errors.__doc__ is not None
    for name, item in inspect.getmembers(errors, inspect.isclass):
        if issubclass(item, KflowError):
            assert name in errors.__doc__
