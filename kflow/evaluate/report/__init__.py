"""Reports of an evaluation, from its document alone: HTML, Markdown, plots, and two of them compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kflow.evaluate.report import page
from kflow.evaluate.report.shape import parse, read

__all__ = ["html", "parse", "read"]


def html(document: Mapping[str, Any]) -> str:
    """One self-contained page. Raises DataError for what is no evaluation."""
    return page.report(parse(document))
