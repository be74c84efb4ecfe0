"""Whoever looks: what axe finds (contrast, names, roles), and nothing is wider than its window, desk or phone."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import expect

from kflow.testing.browser import Look

pytestmark = pytest.mark.asyncio(loop_scope="session")

SHOWN = [(1280, False), (390, True)]


@pytest.mark.parametrize(("width", "dark"), SHOWN)
async def test_everybody_can_use_it_and_nothing_is_cut(trading: Any, look_at: Any, width: int, dark: bool) -> None:
    async with trading as service, look_at(service.url, width=width, dark=dark) as look:
        await look.is_("live")
        await expect(look.page.locator("#orders tr")).to_have_count(2)
        await judged(look)
        await look.page.click("#kill-open")
        await judged(look)
        dialog = await look.page.locator("#kill").bounding_box()
        assert dialog is not None
        assert 0 <= dialog["x"] <= dialog["x"] + dialog["width"] <= width
        await look.calm()


async def test_so_they_can_when_it_is_stale(session: Any, look_at: Any) -> None:
    session.start()
    async with session.served() as service, look_at(service.url) as look:
        await look.is_("live")
        session.disconnect()
        await look.is_("stale")
        await judged(look)


async def judged(look: Look) -> None:
    """What axe finds, and a page that is wider than its window."""
    results = await Axe().run(look.page)
    assert results.violations_count == 0, results.generate_report()
    wide = await look.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0
