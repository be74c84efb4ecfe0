"""Reports of an evaluation, from its document alone: HTML, Markdown, plots, and two of them compared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kflow.evaluate.report import page, text
from kflow.evaluate.report.beside import as_markdown as comparison_markdown
from kflow.evaluate.report.beside import html as comparison_html
from kflow.evaluate.report.comparing import compare
from kflow.evaluate.report.shape import FILE, parse, read

__all__ = ["FILE", "compare", "comparison_html", "comparison_markdown", "html", "markdown", "parse", "plots", "read"]


def html(document: Mapping[str, Any]) -> str:
    """One self-contained page. Raises DataError for what is no evaluation."""
    return page.report(parse(document))


def markdown(document: Mapping[str, Any]) -> str:
    """The sentence and the tables as Markdown. Raises DataError for what is no evaluation."""
    return text.report(parse(document))


def plots(document: Mapping[str, Any], folder: Path, suffix: str = ".svg") -> list[Path]:
    """Write the figures into a folder as .png or .svg; returns their paths.

    Raises DataError for what is no evaluation, UsageError for another suffix, ConfigError without matplotlib and where
    the folder cannot be written.
    """
    from kflow.evaluate.report import figures

    return figures.draw(parse(document), folder, suffix)
