"""A group of commands whose modules are imported when one of them runs, and not for `kflow --help`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group


@dataclass(frozen=True, slots=True)
class Mount:
    """Where a command lives. `target` is `module:name` of a Typer app (a group) or of a function (one command)."""

    target: str
    about: str  # one line, shown by `kflow --help` without importing the module

    def load(self, name: str) -> TyperGroup | TyperCommand:
        """Import the module and make its command, called `name`."""
        module, _, attribute = self.target.partition(":")
        found: typer.Typer | Callable[..., Any] = getattr(import_module(module), attribute)
        if isinstance(found, typer.Typer):
            found.rich_markup_mode = None
            group = get_group(found)
            group.name, group.no_args_is_help = name, True
            return group
        single = new_app()
        single.command(name)(found)
        command = get_command(single)
        assert isinstance(command, TyperCommand)
        return command


def new_app(*, add_completion: bool = False, **options: Any) -> typer.Typer:
    """A Typer app in the house's manner: plain help, and errors left to kflow.cli.main."""
    return typer.Typer(
        add_completion=add_completion,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        pretty_exceptions_show_locals=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        **options,
    )


def lazy_group(mounts: dict[str, Mount]) -> type[TyperGroup]:
    """The group class that knows `mounts` by name only."""

    class LazyGroup(TyperGroup):
        def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the base class decides the parameters
            return list(mounts)

        def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
            if cmd_name not in self.commands and cmd_name in mounts:
                self.commands[cmd_name] = mounts[cmd_name].load(cmd_name)
            return self.commands.get(cmd_name)

        def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
            with formatter.section("Commands"):
                formatter.write_dl([(name, mount.about) for name, mount in mounts.items()])

        def shell_complete(self, ctx: Any, incomplete: str) -> Any:
            from typer._click.shell_completion import CompletionItem

            names = [CompletionItem(n, help=m.about) for n, m in mounts.items() if n.startswith(incomplete)]
            return names if incomplete[:1] != "-" else super().shell_complete(ctx, incomplete)

        def resolve_command(self, ctx: Any, args: list[str]) -> Any:
            if args and args[0] not in mounts and not args[0].startswith("-"):
                ctx.fail(_no_such_command(args[0], list(mounts)))
            return super().resolve_command(ctx, args)

    return LazyGroup


def _no_such_command(name: str, known: list[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    return f"no such command: {name!r}." + (f" Did you mean {near[0]!r}?" if near else "")
