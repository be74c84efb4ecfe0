"""`kflow report`: an evaluation as a page that a person reads, and two of them compared."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from kflow.cli import render
from kflow.cli.lazy import Group, new_app


class Form(StrEnum):
    """What a report is written as."""

    HTML = "html"
    MARKDOWN = "md"
    JSON = "json"


class PlotForm(StrEnum):
    """What plots are written as."""

    PNG = "png"
    SVG = "svg"


class Shown(Group):
    """`kflow report EVALUATION` is short for `kflow report show EVALUATION`."""

    @property
    def default(self) -> Any:
        """The command that is meant where none is named."""
        return self.commands["show"]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = ["show", *args]
        return super().parse_args(ctx, args)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return super().get_command(ctx, cmd_name) or self.commands["show"]


app = new_app(
    cls=Shown,
    help="Show an evaluation as a page, or compare two. Without a verb: kflow report show.",
)

EVALUATION = "The evaluation.json that kflow evaluate wrote, or the folder that holds it."
OutputOption = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="FILE", help="Where to write; - is stdout.")
]
FormOption = Annotated[Form | None, typer.Option("--format", help="What to write; else by FILE's name.")]


@app.command()
def show(
    evaluation: Annotated[Path, typer.Argument(metavar="EVALUATION", help=EVALUATION)],
    output: OutputOption = None,
    form: FormOption = None,
    plots: Annotated[
        Path | None, typer.Option("--plots", metavar="DIR", help="Also draw the figures into files there.")
    ] = None,
    plot_form: Annotated[PlotForm, typer.Option("--plot-format", help="What the figures are.")] = PlotForm.SVG,
    as_json: render.JsonOption = False,
) -> None:
    """Write the report of an evaluation: report.html beside it, one file that loads nothing.

    For example: kflow report runs/eval_0001 -o report.html
    """
    from kflow.evaluate import report

    document = report.read(evaluation)
    chosen = _form(form, output, as_json) or Form.HTML
    if output is None and chosen is Form.HTML:
        output = (evaluation if evaluation.is_dir() else evaluation.parent) / "report.html"
    if chosen is Form.JSON:
        _write(_json(document), output)
    else:
        _write(report.html(document) if chosen is Form.HTML else report.markdown(document), output)
    if plots is not None:
        for path in report.plots(document, plots, f".{plot_form.value}"):
            render.note(f"drawn: {path}")


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(metavar="EVALUATION", help=EVALUATION)],
    b: Annotated[Path, typer.Argument(metavar="EVALUATION", help="Another one.")],
    output: OutputOption = None,
    form: FormOption = None,
    as_json: render.JsonOption = False,
) -> None:
    """Set two evaluations side by side: what they assume otherwise, profit on the same events, verdicts.

    Printed as Markdown where nothing else is asked for. A folder that is called compare is ./compare.
    """
    from kflow.evaluate import report

    found = report.compare(report.read(a), report.read(b))
    chosen = _form(form, output, as_json) or Form.MARKDOWN
    if chosen is Form.JSON:
        _write(_json(found), output)
    else:
        _write(report.comparison_html(found) if chosen is Form.HTML else report.comparison_markdown(found), output)


def _form(form: Form | None, output: Path | None, as_json: bool) -> Form | None:
    """What was asked for, or what the file's name says; of neither, None. Raises UsageError."""
    if as_json:
        render.require_json(form)
        return Form.JSON
    if form is not None or output is None:
        return form
    return {".html": Form.HTML, ".htm": Form.HTML, ".md": Form.MARKDOWN, ".json": Form.JSON}.get(output.suffix.lower())


def _json(document: Any) -> str:
    import json

    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _write(text: str, output: Path | None) -> None:
    """To stdout, or into a file whose name is printed. Raises ConfigError where it cannot be written."""
    from kflow.errors import ConfigError

    if output is None or str(output) == "-":
        sys.stdout.write(text)
        return
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {output}: {error.strerror}", hint="choose another -o") from None
    typer.echo(output)
