"""What a stream can show: the one place that decides on colours, drawings and widths, and that makes consoles.

`--no-color` and NO_COLOR win over FORCE_COLOR, and that over what the stream is. TERM=dumb can neither colour nor draw.
Nothing here is imported from rich before something is drawn.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any, Final, TextIO

import typer

if TYPE_CHECKING:
    from rich.console import Console

# Where stdout is no terminal nothing is cut or wrapped for one that is not there.
ENDLESS: Final = 10_000
_DUMB: Final = ("", "dumb", "unknown")

# What `--no-color` said; of this process, as the levels of logging are.
_colour = True


def configure(*, colour: bool) -> None:
    """Set what `--no-color` says."""
    global _colour
    _colour = colour


def drawable(stream: TextIO) -> bool:
    """Whether `stream` is a terminal that can be drawn on."""
    return stream.isatty() and os.environ.get("TERM", "") not in _DUMB


def coloured(stream: TextIO) -> bool:
    """Whether to write colours to `stream`."""
    if not _colour or os.environ.get("NO_COLOR") or os.environ.get("TERM") in _DUMB[1:]:
        return False
    return bool(os.environ.get("FORCE_COLOR")) or drawable(stream)


def width(stream: TextIO) -> int:
    """Columns to fill; many where `stream` is no terminal."""
    return shutil.get_terminal_size().columns if stream.isatty() else ENDLESS


def styled(text: str, stream: TextIO, **style: Any) -> str:
    """`text` as it is written to `stream`; `style` as of typer.style."""
    return typer.style(text, **style) if coloured(stream) else text


def console(stream: TextIO) -> Console:
    """A console that writes to `stream`."""
    from rich.console import Console

    colour = coloured(stream)
    return Console(
        file=stream,
        highlight=False,
        # FORCE_COLOR asks for colours; of cursor and screen only a terminal knows what to do.
        force_terminal=colour or drawable(stream),
        no_color=not colour,
        width=None if stream.isatty() else ENDLESS,
    )
