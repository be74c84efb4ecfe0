"""What the venue's four error shapes become, and what a 401 is said to mean."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kflow.kalshi.refusals import read_error, refusal, unauthorised


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (
            b'{"error":{"code":"insufficient_balance","message":"insufficient balance","details":"needs $3"}}',
            "insufficient_balance",
            "needs $3",
        ),
        (b'{"error":{"code":"not_found","message":"not_found"}}', "not_found", ""),
        (
            b'{"code":"invalid_parameters","message":"Parameter validation failed","details":""}',
            "invalid_parameters",
            "Parameter validation failed",
        ),
        (b'{"msg":"limit must be at most 1000"}', "", "limit must be at most 1000"),
        (b'{"error":"too many requests"}', "too many requests", ""),
        (b"<html>\n<h1>Bad\x1b[2J gateway</h1>", "", "<html> <h1>Bad [2J gateway</h1>"),
        (b"", "", ""),
        (b"[1,2]", "", "[1, 2]"),
        (b'{"error":7}', "", "7"),
        (b'{"error":{"code":null,"message":null}}', "", ""),
        (b"\xff\xfe", "", "\ufffd\ufffd"),
        (b"[" * 100_000, "", "[" * 200),
    ],
)
def test_every_shape_is_read(body: bytes, code: str, words: str) -> None:
    assert read_error(body) == (code, words)


@given(
    st.one_of(
        st.binary(), st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps).map(str.encode)
    )
)
def test_no_body_breaks_the_reader_or_the_terminal(body: bytes) -> None:
    for part in read_error(body):
        assert len(part) <= 200
        assert part.isprintable()


@pytest.mark.parametrize(
    ("status", "body", "text", "hint"),
    [
        (
            404,
            b'{"error":{"code":"not_found","message":"x"}}',
            "GET /markets/A was refused (HTTP 404): not_found: x",
            "",
        ),
        (400, b'{"msg":"bad limit"}', "GET /markets/A was refused (HTTP 400): bad limit", ""),
        (403, b"", "GET /markets/A was refused (HTTP 403): no reason given", "the key lacks a scope"),
        (
            429,
            b'{"error":"too many requests"}',
            "GET /markets/A was refused (HTTP 429): too many requests",
            "in a minute",
        ),
        (503, b"oops", "GET /markets/A was refused (HTTP 503): oops", "try again later"),
    ],
)
def test_a_refusal_says_what_was_asked_and_answered(status: int, body: bytes, text: str, hint: str) -> None:
    error = refusal("GET /markets/A", status, body)
    assert (str(error), error.status, error.exit_code) == (text, status, 5)
    assert hint in error.hint


@pytest.mark.parametrize(
    ("body", "cause", "remedy"),
    [
        (
            {"error": {"code": "authentication_error", "message": "authentication_error", "details": "NOT_FOUND"}},
            "it does not know this key id (authentication_error: NOT_FOUND)",
            "demo and production share no keys",
        ),
        (
            {"error": {"code": "authentication_error", "details": "INCORRECT_API_KEY_SIGNATURE"}},
            "it knows the key id, but the signature is another key's (authentication_error: INCORRECT_API",
            "pair each file with the id",
        ),
        (
            {"error": {"code": "signature_is_missing_from_headers", "message": "free text"}},
            "the signature did not arrive (signature_is_missing_from_headers: free text)",
            "removes headers",
        ),
        (
            {"error": {"code": "header_timestamp_expired", "message": "free text"}},
            "the signature's time is too far from the venue's (header_timestamp_expired: free text)",
            "timedatectl",
        ),
        ({}, "it does not say why", "check key id and key file"),
    ],
)
def test_a_401_names_its_likeliest_cause(body: object, cause: str, remedy: str) -> None:
    error = unauthorised("GET /account/limits", json.dumps(body).encode(), algorithm="Ed25519", offset_ms=400)
    assert str(error).startswith(f"GET /account/limits was refused (HTTP 401): {cause}")
    assert remedy in error.hint
    assert error.hint.endswith(
        "Ruled out: the key file (a sound Ed25519 key), the signed path (as requested, without its query), "
        "the clock (0.4 s off)"
    )


def test_a_clock_that_is_off_is_the_first_thing_to_mend() -> None:
    error = unauthorised("GET /x", b"{}", algorithm="RSA", offset_ms=-61_000)
    assert error.hint.startswith("our clock is 61 s off: set it first. Ruled out: the key file (a sound RSA key)")
    assert "the clock (" not in error.hint


def test_a_clock_that_was_not_measured_is_not_ruled_out() -> None:
    assert "clock" not in unauthorised("GET /x", b"{}", algorithm="RSA", offset_ms=None).hint
