"""The page's files: a fixed table, served from memory, under a policy that lets nothing in from elsewhere."""

from __future__ import annotations

from typing import Any

import pytest

from kflow.web.files import Files


async def test_the_page_is_at_the_root(serving: Any) -> None:
    async with serving() as http:
        answer = await http.get("/")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.text.startswith("<!doctype html>")
        assert (await http.get("/page/index.html")).content == answer.content


async def test_all_files_of_the_table_are_served_under_the_pages_policy(serving: Any) -> None:
    async with serving() as http:
        for name in Files().names:
            answer = await http.get(f"/page/{name}")
            assert answer.status_code == 200, name
            policy = answer.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-cache"


async def test_what_the_browser_has_is_not_sent_again(serving: Any) -> None:
    async with serving() as http:
        answer = await http.get("/")
        again = await http.get("/", headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert (await http.get("/", headers={"If-None-Match": '"older"'})).status_code == 200


@pytest.mark.parametrize(
    "name", ["nothing.js", "../app.py", "..%2fapp.py", "%2e%2e/app.py", "%2fetc%2fpasswd", "app.py", "index.html%00"]
)
async def test_nothing_else_is(serving: Any, name: str) -> None:
    async with serving() as http:
        answer = await http.get(f"/page/{name}")
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/json"
