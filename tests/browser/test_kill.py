"""The kill switch of the page: only with the token, by mouse or by keys, and it says what it did."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import expect

from kflow.act.pulse import Pulse, read
from kflow.act.standing import Standing
from kflow.testing.browser import Look
from kflow.testing.living import Living
from kflow.testing.recording import TOKEN

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def fill(look: Look, token: str, reason: str) -> None:
    await look.page.fill("#kill-token", token)
    await look.page.fill("#kill-reason", reason)
    await look.page.click("#kill-send")


async def test_only_the_right_token_halts(session: Any, look_at: Any) -> None:
    session.start()
    living = Living(session.standing.folder.parent)
    living.work()
    pulse = Pulse(living.vitals(), living.data)
    pulse.write(pulse.look())
    sign = lambda: read(living.data, enabled=True, clock=living.clock)  # noqa: E731
    async with session.served(actor=sign) as service, look_at(service.url) as look:
        await look.is_("live")
        await expect(look.page.locator("#actor-words")).to_contain_text("Active")
        await look.page.click("#kill-open")
        await fill(look, "wrong-" + TOKEN, "a drill")
        await expect(look.page.locator("#kill-result")).to_contain_text("token was refused")
        assert living.standing.now().overall.standing is Standing.ACTIVE
        await fill(look, TOKEN, "a drill")
        await expect(look.page.locator("#kill-result")).to_contain_text("Halted")
        await expect(look.page.locator("#kill-result")).to_contain_text("cancels what rests of its orders")
        now = living.standing.now().overall
        assert (now.standing, now.reason) == (Standing.HALTED, "killed from the recorder: a drill")
        await look.page.keyboard.press("Escape")
        await expect(look.page.locator("#kill")).to_be_hidden()
        await expect(look.page.locator("#actor-words")).to_contain_text("Halted")
        # The token is nowhere that outlives the page.
        kept = await look.page.evaluate(
            "JSON.stringify([Object.entries(localStorage), Object.entries(sessionStorage), document.cookie, "
            "location.href, document.documentElement.outerHTML])"
        )
        assert TOKEN not in kept
        await look.calm(expected="status of 401")
