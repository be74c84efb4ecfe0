"""`kflow doctor`: is this machine fit to record, and how to make it so."""

from __future__ import annotations

from dataclasses import asdict

import typer

from kflow.cli import render
from kflow.cli.invocation import load_settings
from kflow.errors import ConfigError


def doctor(context: typer.Context, form: render.FormatOption = None, as_json: render.JsonOption = False) -> None:
    """Check this machine, and say how to mend what is wrong. Exit 3 where something fails."""
    from kflow.cli.checks import State, examine

    chosen = render.chosen(form, as_json)
    findings = list(examine(load_settings(context)))
    columns = ("check", "state", "found", "fix")
    items = [asdict(finding) | {"fix": finding.fix or None} for finding in findings]
    render.rows("checks", items, columns=columns, form=chosen)
    failed = [finding.check for finding in findings if finding.state is State.FAIL]
    if failed:
        raise ConfigError(
            f"{len(failed)} of {len(findings)} checks failed: {', '.join(failed)}",
            hint="the column fix says what mends each; then kflow doctor again",
        )
