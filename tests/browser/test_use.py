"""With a mouse or with keys alone, by day and by night: all can be reached, and own orders are at their levels."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import expect

from kflow.testing.browser import Look
from kflow.testing.recording import FIRST, SECOND

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def focused(look: Look) -> str:
    """What has the focus: its id, else the market it chooses, else its tag."""
    return str(
        await look.page.evaluate(
            "(one => one.id || one.dataset.ticker || one.tagName.toLowerCase())(document.activeElement)"
        )
    )


async def tab_to(look: Look, wanted: str) -> None:
    for _ in range(40):
        if await focused(look) == wanted:
            return
        await look.page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not come to {wanted}")


async def test_keys_alone_choose_a_market_and_reach_the_kill_switch(trading: Any, look_at: Any) -> None:
    async with trading as service, look_at(service.url) as look:
        await look.is_("live")
        press = look.page.keyboard.press
        await tab_to(look, FIRST)  # one stop for the list: the market that is shown
        await press("ArrowDown")
        assert await focused(look) == SECOND
        await press("Enter")
        await look.shows(SECOND)
        current = look.page.locator("#markets [aria-current=true]")
        await expect(current).to_have_attribute("data-ticker", SECOND)
        await press("/")
        await look.page.keyboard.type(FIRST[-4:])
        await expect(look.page.locator("#markets [data-ticker]:visible")).to_have_count(1)
        await press("Enter")
        await look.shows(FIRST)
        await tab_to(look, "kill-open")
        await press("Enter")
        await expect(look.page.locator("#kill")).to_be_visible()
        assert await focused(look) == "kill-token"
        for _ in range(12):  # the focus stays in the dialog
            await press("Tab")
            # Beyond the last button is the browser's own bar, which has the focus then.
            assert await look.page.evaluate("document.activeElement.matches('body, #kill *')")
        await press("Escape")
        await expect(look.page.locator("#kill")).to_be_hidden()
        assert await focused(look) == "kill-open"
        await look.calm()


async def test_own_orders_are_at_their_levels(trading: Any, look_at: Any) -> None:
    async with trading as service, look_at(service.url) as look:
        await look.is_("live")
        await expect(look.page.locator("#orders tr")).to_have_count(2)
        drawn = await look.ladder()
        assert drawn.own == {("yes", 4400): 250, ("no", 5400): 100}
        assert drawn.misread == []
        await look.choose(SECOND)
        assert (await look.ladder()).own == {}


@pytest.mark.parametrize("dark", [False, True])
async def test_day_and_night_are_two(session: Any, look_at: Any, dark: bool) -> None:
    session.start()
    async with session.served() as service, look_at(service.url, dark=dark) as look:
        await look.is_("live")
        paper, ink = await look.page.evaluate(
            "(style => [style.backgroundColor, style.color])(getComputedStyle(document.body))"
        )
        assert (brightness(paper) < brightness(ink)) is dark


def brightness(colour: str) -> int:
    """Of rgb(r, g, b)."""
    return sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")[:3])
