"""What strangers may name things: markets, strategies, errors. All of it is written as text, and does nothing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from playwright.async_api import Error

from kflow.act.holdings import Holdings, Resting
from kflow.act.pulse import Pulse, read
from kflow.testing.browser import Look
from kflow.testing.living import Living

pytestmark = pytest.mark.asyncio(loop_scope="session")

NAMES = [
    "<img src=x onerror=alert(1)>",
    '"><svg onload="fetch(\'http://evil.example/\')">',
    "'-alert(1)-'",
    "</script><script>alert(1)</script>",
    "javascript:alert(1)",
    "{{constructor.constructor('alert(1)')()}}",
    "‮KCIUQ‬⁧M-1⁩",
    "a&market=b#c?d%3Cimg%20src=x%3E",
    "../../etc/passwd",
    "`${alert(1)}`",
    "​﻿\t\n",
    "__proto__",
    "constructor",
    "W" * 200,
    "\uff2d\u0301é🙂" * 40,
]
EVIL = "<img src=http://evil.example/x onerror=alert(1)>"


@pytest.fixture
def served(session: Any) -> Any:
    """A recorder of such markets, at a venue and with an actor and a database that say such things."""
    session.connect()
    for market in NAMES:
        session.receive(session.snapshot(market, yes=[("0.4300", "50.00")], no=[("0.5400", "100.00")]))
        session.receive(session.trade("0.4600", "3.00", market=market))
    session.feed.reason = EVIL
    session.writer.last_error, session.writer.connected = EVIL, False
    living = Living(session.standing.folder.parent)
    living.standing.halt(EVIL, living.us)
    living.work()
    pulse = Pulse(living.vitals(), living.data)
    held = Holdings(
        orders=[Resting(EVIL, market, 0, 4300, 100, None) for market in [*NAMES, EVIL]],
        positions=dict.fromkeys([*NAMES, EVIL], 100),
    )
    beat = msgspec.structs.replace(
        pulse.look(), holdings=held, strategy=EVIL, venue=EVIL, run=EVIL, problems={EVIL: EVIL}
    )
    pulse.write(beat)
    return session.served(markets=tuple(NAMES), actor=lambda: read(living.data, enabled=True, clock=living.clock))


async def test_names_are_written_as_they_are_and_do_nothing(served: Any, look_at: Any) -> None:
    async with served as service, look_at(service.url) as look:
        await look.page.locator("#markets [data-ticker]").nth(len(NAMES) - 1).wait_for()
        buttons = look.page.locator("#markets [data-ticker]")
        told = await buttons.evaluate_all("all => all.map(one => one.dataset.ticker)")
        assert told == NAMES
        for number, name in enumerate(NAMES):
            assert name in (await buttons.nth(number).text_content() or "")
            await buttons.nth(number).click()
            await _is_shown(look, name)
        await look.page.locator("#actor-problems li").first.wait_for()
        assert EVIL in (await look.page.locator("#actor-problems").text_content() or "")
        assert EVIL in (await look.page.locator("#recorder-problems").text_content() or "")
        assert await look.page.evaluate("document.querySelectorAll('img, script:not([src]), iframe').length") == 0
        await _fits(look)
        await look.calm()


async def test_nor_does_an_address(served: Any, look_at: Any) -> None:
    """What follows # is a market's name, and may be anything."""
    async with served as service:
        for name in (EVIL, "%E0%A4%A"):
            async with look_at(service.url, market=name) as look:
                await look.page.locator("#markets [data-ticker]").first.wait_for()
                await look.calm(expected=r"^WebSocket connection to '\S+' failed: .* 404$")


async def test_what_must_not_happen_would_be_seen(session: Any, look_at: Any) -> None:
    """The looks of this folder see what a page did that took names for markup."""
    session.start()
    async with session.served() as service, look_at(service.url) as look:
        await look.is_("live")
        await look.calm()
        await look.page.evaluate("setTimeout(() => alert(1))")
        await look.page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=/x onerror=alert(2)>')")
        await look.page.evaluate("void fetch('http://evil.example/').catch(() => 0)")
        await look.page.evaluate("void setTimeout(() => { throw new Error('ours') })")
        await look.page.wait_for_function("window.kflowViolations.length === 2")
        assert look.dialogs == ["1"]
        assert any("ours" in text for text in look.troubles)
        for part in ("script-src-attr: inline", "connect-src: http://evil.example/"):
            assert part in await look.page.evaluate("window.kflowViolations")
    async with session.served() as service, look_at(service.url) as look:
        with pytest.raises(Error, match="ERR_FAILED"):
            await look.page.goto("http://evil.example/")
        assert look.foreign == ["http://evil.example/"]


async def _is_shown(look: Look, name: str) -> None:
    await look.page.wait_for_function("name => document.querySelector('#ladder').dataset.market === name", arg=name)
    assert (await look.ladder()).yes == {4300: 5000}
    assert await look.page.locator("#market").text_content() == name


async def _fits(look: Look) -> None:
    wide = await look.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0
