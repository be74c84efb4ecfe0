"""The recorder's page in a real browser, and a list of everything that it must not do while it is looked at.

async with browser() as chromium, looking(chromium, url) as look:
    await look.is_("live")
    book = await look.ladder()
    look.calm()
"""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from playwright.async_api import Browser, Page, Request, Route, WebSocket, async_playwright, expect

# Playwright would download a browser of its own; the system's is looked after by the system.
_NAMES: Final = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
PATIENCE_MS: Final = 20_000.0
# All rows in one turn of the page's loop, so that they are of one version: attributes, and of the rows that are not out
# of sight what a person reads.
_LADDER: Final = """() => {
  const root = document.querySelector('#ladder');
  const words = (row) => ['price', 'size', 'own'].map((cell) => row.querySelector('.' + cell).textContent);
  const read = (row) => ({side: row.dataset.side, price: row.dataset.priceE4, size: row.dataset.sizeE2,
    own: row.dataset.ownE2, shown: row.hidden ? null : words(row)});
  return {state: document.body.dataset.state, market: root.dataset.market ?? null,
    version: root.dataset.version ?? null, rows: [...root.querySelectorAll('[data-price-e4]')].map(read)};
}"""
# Before any script of the page: violations of the Content-Security-Policy, and how often another book was drawn.
_WATCH: Final = """window.kflowViolations = [];
document.addEventListener('securitypolicyviolation', (event) =>
  window.kflowViolations.push(`${event.violatedDirective}: ${event.blockedURI}`));
window.kflowBooks = 0;
new MutationObserver((all) => all.some((one) => one.target.id === 'ladder') && window.kflowBooks++)
  .observe(document, {attributes: true, attributeFilter: ['data-version'], subtree: true});"""


def chromium() -> str | None:
    """Where the system's Chromium is; None where there is none."""
    return next((found for name in _NAMES if (found := shutil.which(name))), None)


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """A headless Chromium for as long as the block lasts."""
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=chromium())
        try:
            yield running
        finally:
            await running.close()


@dataclass(frozen=True, slots=True)
class Ladder:
    """What is drawn of a book. Sizes 1e-2 contract by price 1e-4 dollar, bids of each side."""

    state: str
    market: str | None
    version: int | None
    yes: Mapping[int, int]
    no: Mapping[int, int]
    # Own orders, (side, price): what is left of them.
    own: Mapping[tuple[str, int], int]
    # Rows whose words are not their attributes, or that stand in the wrong place.
    misread: Collection[str]
    shown: int  # rows with words: those that are not out of sight


@dataclass(slots=True)
class Look:
    """One page of one recorder."""

    page: Page
    origin: str
    foreign: list[str] = field(default_factory=list)  # requests to anybody but the recorder
    troubles: list[str] = field(default_factory=list)  # script errors, and errors of the console
    dialogs: list[str] = field(default_factory=list)

    async def is_(self, state: str, within_ms: float = PATIENCE_MS) -> None:
        """Wait until the page says that the book is connecting, live, stale or lost."""
        await expect(self.page.locator("body")).to_have_attribute("data-state", state, timeout=within_ms)

    async def choose(self, market: str) -> None:
        """Click a market, and wait for its book."""
        await (
            self.page.locator("#markets [data-ticker]", has_text=market[-7:])
            .and_(self.page.locator(f"[data-ticker={_quoted(market)}]"))
            .click()
        )
        await self.shows(market)

    async def shows(self, market: str) -> None:
        """Wait until a book of the market is drawn."""
        ladder = self.page.locator(f"#ladder[data-market={_quoted(market)}][data-version]")
        await expect(ladder).to_be_attached(timeout=PATIENCE_MS)

    async def ladder(self) -> Ladder:
        """What is drawn now."""
        return read(await self.page.evaluate(_LADDER))

    async def drawn(self) -> tuple[int, int, float]:
        """Frames since the page was loaded, in how many of them another book was drawn, and ms since then."""
        frames, books, ms = await self.page.evaluate("[window.kflowFrames, window.kflowBooks, performance.now()]")
        return frames, books, ms

    async def calm(self, *, expected: str = "") -> None:
        """Nothing happened that must not; `expected`: a pattern of troubles that are none here."""
        assert self.foreign == []
        assert self.dialogs == []
        assert await self.page.evaluate("window.kflowViolations") == []
        assert [text for text in self.troubles if not (expected and re.search(expected, text))] == []


@asynccontextmanager
async def looking(
    running: Browser,
    url: str,
    *,
    market: str = "",
    width: int = 1280,
    height: int = 800,
    dark: bool = False,
    heard: Callable[[str], None] = lambda _: None,
) -> AsyncIterator[Look]:
    """The page at `url` (of the recorder's root), in a profile of its own. What it asks of others is refused.

    `heard` is given every message of the page's streams.
    """
    context = await running.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
    )
    context.set_default_timeout(PATIENCE_MS)
    look = Look(await context.new_page(), url.rstrip("/"))
    await context.add_init_script(_WATCH)
    await context.route("**/*", lambda route, request: _within(look, route, request))
    page = look.page
    page.on("websocket", lambda socket: _stream(look, socket, heard))
    page.on("pageerror", lambda error: look.troubles.append(f"script: {error}"))
    page.on("console", lambda said: look.troubles.append(said.text) if said.type == "error" else None)
    page.on("dialog", lambda dialog: _dismiss(look, dialog))
    try:
        await page.goto(f"{look.origin}/" + (f"#{market}" if market else ""))
        yield look
    finally:
        await context.close()


def _stream(look: Look, socket: WebSocket, heard: Callable[[str], None]) -> None:
    _note(look, socket.url.replace("ws", "http", 1))
    socket.on("framereceived", lambda text: heard(str(text)))


async def _within(look: Look, route: Route, request: Request) -> None:
    if _note(look, request.url):
        await route.continue_()
    else:
        await route.abort()


def _note(look: Look, url: str) -> bool:
    ours = url.startswith(f"{look.origin}/")
    if not ours:
        look.foreign.append(url)
    return ours


async def _dismiss(look: Look, dialog: Any) -> None:
    look.dialogs.append(dialog.message)
    await dialog.dismiss()


def read(found: Mapping[str, Any]) -> Ladder:
    """A ladder from its rows, as they stand from above. One at which only an own order rests is none of the book."""
    sides: dict[str, dict[int, int]] = {"yes": {}, "no": {}}
    own, misread, above, shown = {}, [], 10_000, 0
    for row in found["rows"]:
        side, price, size, mine = row["side"], int(row["price"]), int(row["size"]), int(row["own"])
        seen = 10_000 - price if side == "no" else price
        if size:
            sides[side][price] = size
            if seen >= above:
                misread.append(f"{seen} stands below {above}")
            above = seen
        if mine:
            own[side, price] = mine
        if row["shown"] is not None:
            shown += 1
            if not _says(row["shown"], seen, size, mine):
                misread.append(f"{side} {price} {size} {mine} is shown as {row['shown']}")
    version = None if found["version"] is None else int(found["version"])
    return Ladder(found["state"], found["market"], version, sides["yes"], sides["no"], own, misread, shown)


def _says(words: list[str], price: int, size: int, own: int) -> bool:
    """Whether words of a row are its numbers: cents of YES, contracts, and what is left of own orders."""
    priced, sized, mine = (_hundredths(text) for text in words)
    return (priced, sized or 0, mine or 0) == (price, size, own)


def _hundredths(text: str) -> int | None:
    """12.5 is 1250; the number with which the text begins, None without one."""
    match = re.match(r"([0-9,]+)(?:\.([0-9]{1,2}))?", text.strip())
    return None if match is None else int(match[1].replace(",", "")) * 100 + int((match[2] or "").ljust(2, "0"))


def _quoted(text: str) -> str:
    """A string of CSS."""
    return '"' + re.sub(r'["\\]', lambda found: f"\\{found[0]}", text) + '"'
