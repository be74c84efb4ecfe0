"""Run a command on a terminal of its own and draw what stands there when it has ended.

    python docs/site/terminal.py demo.png -- kflow demo --no-open

The picture is of the command's real output: nothing is added, what it erased itself is gone. Needs Chromium.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import pty
import re
import shlex
import sys
import tempfile
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.text import Text

from kflow.testing.browser import browser

# What erases and moves, colours, and everything else that is no text.
_CONTROL = re.compile(r"\x1b\[(\??[\d;]*)([A-Za-z])|[\r\n]")


def run(words: list[str], columns: int) -> str:
    """Everything that the command wrote to its terminal."""
    seen = bytearray()

    def read(master: int) -> bytes:
        data = os.read(master, 65_536)
        seen.extend(data)
        return data

    os.environ.update(TERM="xterm-256color", COLUMNS=str(columns), LINES="50")
    pty.spawn(words, read)
    return seen.decode("utf-8", "replace")


def screen(written: str) -> list[str]:
    """Lines that are left, with their colours: of a program that erases whole lines and moves up."""
    lines, row, at = [""], 0, 0

    def put(text: str) -> None:
        lines[row] += text

    for match in _CONTROL.finditer(written):
        put(written[at : match.start()])
        at = match.end()
        number, kind = match[1], match[2]
        if match[0] == "\n":
            row += 1
            lines.extend([""] * (row + 1 - len(lines)))
        elif kind == "K":
            lines[row] = ""
        elif kind == "A":
            row = max(0, row - int(number or 1))
        elif kind == "m":
            put(match[0])
    put(written[at:])
    return lines


async def draw(lines: list[str], columns: int, to: Path, title: str) -> None:
    console = Console(record=True, width=columns, file=io.StringIO(), force_terminal=True)
    for line in lines:
        console.print(Text.from_ansi(line), soft_wrap=False)
    with tempfile.NamedTemporaryFile("w", suffix=".svg") as svg:
        svg.write(console.export_svg(title=title))
        svg.flush()
        async with browser() as chromium:
            page = await chromium.new_page(device_scale_factor=1)
            await page.goto(f"file://{svg.name}")
            box = await page.evaluate(
                "(({width, height}) => ({width, height}))(document.documentElement.viewBox.baseVal)"
            )
            shown = {"width": 1000, "height": round(1000 * box["height"] / box["width"])}
            await page.set_viewport_size(shown)
            await page.screenshot(path=to)
    with Image.open(to) as shot:
        shot.quantize(128, dither=Image.Dither.NONE).save(to, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--columns", type=int, default=118)
    parser.add_argument(
        "--keep", type=Path, help="also write what the terminal got, byte for byte; or read it, if there"
    )
    parser.add_argument("command", nargs="+")
    chosen = parser.parse_args()
    if chosen.keep is not None and chosen.keep.exists():
        written = chosen.keep.read_bytes().decode()
    else:
        written = run(chosen.command, chosen.columns)
        if chosen.keep is not None:
            chosen.keep.write_bytes(written.encode())
    lines = [f"$ {shlex.join(chosen.command)}", *screen(written)]
    asyncio.run(draw(lines, chosen.columns, chosen.picture, "kflow"))


if __name__ == "__main__":
    sys.exit(main())
