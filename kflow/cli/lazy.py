"""A group of commands whose modules are imported when one of them runs, and not for `kflow --help`."""

from __future__ import annotations

import difflib
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


class Group(TyperGroup):
    """A group in the house's manner: what its commands do is never cut short, and a near name is proposed."""

    def about(self, ctx: Any, name: str) -> str:
        """What the command `name` does, in a line."""
        command = self.get_command(ctx, name)
        return "" if command is None else command.get_short_help_str(limit=1000)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.about(ctx, name)) for name in self.list_commands(ctx)])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        known = self.list_commands(ctx)
        if args and args[0] not in known and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], known, n=1)
            ctx.fail(f"no such command: {args[0]!r}." + (f" Did you mean {near[0]!r}?" if near else ""))
        return super().resolve_command(ctx, args)


def new_app(*, add_completion: bool = False, **options: Any) -> typer.Typer:
    """A Typer app in the house's manner: plain help, and errors left to kflow.cli.main."""
    return typer.Typer(
        **{"cls": Group, **options},
        add_completion=add_completion,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        pretty_exceptions_show_locals=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def lazy_group(mounts: dict[str, Mount]) -> type[TyperGroup]:
    """The group class that knows `mounts` by name only."""

    class LazyGroup(Group):
        def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the base class decides the parameters
            return list(mounts)

        def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
            if cmd_name not in self.commands and cmd_name in mounts:
                self.commands[cmd_name] = mounts[cmd_name].load(cmd_name)
            return self.commands.get(cmd_name)

        def about(self, ctx: Any, name: str) -> str:  # noqa: ARG002
            return mounts[name].about

    return LazyGroup
