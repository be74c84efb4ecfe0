"""What may stand where the cursor is, for bash, zsh and fish.

The scripts that `kflow --install-completion` installs are Typer's, and ask by environment variables. They are answered
here, by walking over the declared commands: Typer would parse all values, and load what parses them at every key press.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import typer

# The scripts evaluate what they are given: of names that others chose (tickers!), only such are offered.
_SAFE: Final = re.compile(r"[\w./:+,@%=-]+", re.ASCII)
_CHOICES: Final = re.compile(r"[a-z][a-z0-9.-]*(\|[a-z0-9.-]+)*")
_LISTS: Final = ("N|RANGE", "NAME,…")


class Offer(NamedTuple):
    """One way to go on, and what it means."""

    value: str
    about: str = ""


def asked(environ: Mapping[str, str]) -> str | None:
    """The shell that asks for completion: bash, zsh or fish; None where none does."""
    verb, _, shell = environ.get("_KFLOW_COMPLETE", "").partition("_")
    return shell if verb == "complete" and shell in _SHELLS else None


def answer(root: Any, shell: str, environ: Mapping[str, str]) -> int:
    """Print what the script of `shell` reads; returns the exit code, which only fish looks at."""
    return _SHELLS[shell](root, environ)


# --- what may follow


def offers(root: Any, words: Sequence[str], incomplete: str) -> list[Offer]:
    """How a command line of `words` may go on with a word that begins with `incomplete`."""
    place = _Place(root)
    for word in words:
        place.take(word)
    name, equals, begun = incomplete.partition("=")
    if equals and (option := place.option(name)) is not None:
        found = [offer._replace(value=f"{name}={offer.value}") for offer in _values(option, place, begun)]
    elif place.awaits is not None:
        found = _values(place.awaits, place, incomplete)
    elif incomplete.startswith("-"):
        found = place.options()
    else:
        found = place.words(incomplete)
    return [offer for offer in found if offer.value.startswith(incomplete) and _SAFE.fullmatch(offer.value)]


class _Place:
    """Where in the tree of commands a command line is."""

    def __init__(self, root: Any) -> None:
        self.root = self.command = root
        self.context = typer.Context(root, info_name="kflow")
        self.context.obj = {"config": None}
        # The option whose value comes next.
        self.awaits: Any = None
        # Arguments so far; None behind a word that is no command.
        self._taken: int | None = 0

    def take(self, word: str) -> None:
        """Go on by a word that is whole."""
        if self.awaits is not None:
            self._told(self.awaits, word)
            self.awaits = None
        elif word.startswith("-") and word != "-":
            name, equals, value = word.partition("=")
            option = self.option(name)
            if option is not None and equals:
                self._told(option, value)
            elif option is not None and not option.is_flag and not option.count:
                self.awaits = option
        elif (child := self._child(word)) is not None:
            self._taken = 0 if word in self.command.list_commands(self.context) else 1
            self.command, self.context = child, typer.Context(child, info_name=word, parent=self.context)
        elif self._taken is not None:
            self._taken = None if hasattr(self.command, "list_commands") else self._taken + 1

    def option(self, name: str) -> Any:
        """The option that is called so, of this command or of all; None where there is none."""
        every = (*self.command.params, *self.root.params)
        return next((item for item in every if item.param_type_name == "option" and name in item.opts), None)

    def options(self) -> list[Offer]:
        """Every option that may stand here."""
        items = [*self.command.params, *(self.root.params if self.command is not self.root else ())]
        found = [item for item in items if item.param_type_name == "option" and not item.hidden]
        names = {name: item.help or "" for item in found for name in (*item.opts, *item.secondary_opts)}
        return [Offer(name, about) for name, about in names.items() if len(name) > 2] + [Offer("--help", "Show help.")]

    def words(self, incomplete: str) -> list[Offer]:
        """What may stand here that is no option."""
        found: list[Offer] = []
        command = self.command
        if self._taken is None:
            return found
        if hasattr(command, "list_commands"):
            names = command.list_commands(self.context)
            found = [Offer(name, command.about(self.context, name)) for name in names]
            command = getattr(command, "default", None)
        arguments = [item for item in getattr(command, "params", ()) if item.param_type_name == "argument"]
        if arguments and (self._taken < len(arguments) or arguments[-1].nargs == -1):
            found += _values(arguments[min(self._taken, len(arguments) - 1)], self, incomplete)
        return found

    def _child(self, word: str) -> Any:
        return self.command.get_command(self.context, word) if hasattr(self.command, "get_command") else None

    def _told(self, option: Any, value: str) -> None:
        if "--config" in option.opts:
            self.context.find_root().obj["config"] = Path(value)


def _values(item: Any, place: _Place, incomplete: str) -> list[Offer]:
    """What an option or an argument may be. Of a list, the last of it."""
    from kflow.cli.choices import BY_METAVAR

    kind, metavar = item.type_descriptor, item.metavar or ""
    if kind.is_choice and kind.choices:
        return [Offer(str(getattr(choice, "value", choice))) for choice in kind.choices]
    if metavar in BY_METAVAR:
        found = BY_METAVAR[metavar](place.context, incomplete)
        before = incomplete[: incomplete.rfind(",") + 1] if metavar in _LISTS else ""
        return [offer._replace(value=before + offer.value) for offer in map(_offer, found)]
    return [Offer(word) for word in metavar.split("|")] if _CHOICES.fullmatch(metavar) else []


def _offer(found: tuple[str, str]) -> Offer:
    return Offer(*found)


# --- how each shell asks, and what it reads


def _bash(root: Any, environ: Mapping[str, str]) -> int:
    """Words stand a line each, cut at colons and equals signs as well: a value goes on after the last of them."""
    until = int(environ.get("COMP_CWORD", "0")) + 1
    raw = [*environ.get("COMP_WORDS", "").split("\n"), ""][:until]
    words: list[str] = []
    glued = False
    for word in raw:
        sign = word in (":", "=")
        if (sign or glued) and words:
            words[-1] += word
        else:
            words.append(word)
        glued = sign
    typed = [_unquoted(word) for word in words[1:]]
    incomplete = typed.pop() if typed else ""
    cut = max(incomplete.rfind(":"), incomplete.rfind("=")) + 1 if glued or len(words) < len(raw) else 0
    sys.stdout.write("".join(f"{offer.value[cut:]}\n" for offer in offers(root, typed, incomplete)))
    return 0


def _zsh(root: Any, environ: Mapping[str, str]) -> int:
    found = _found(root, environ)
    if not found:
        sys.stdout.write("_files\n")
        return 0
    lines = [f'"{value.replace(":", chr(92) * 2 + ":")}":"{_plain(about)}"' for value, about in found]
    sys.stdout.write("_arguments '*: :((" + "\n".join(lines) + "))'\n")
    return 0


def _fish(root: Any, environ: Mapping[str, str]) -> int:
    found = _found(root, environ)
    if environ.get("_TYPER_COMPLETE_FISH_ACTION") == "is-args":
        return 0 if found else 1
    sys.stdout.write("".join(f"{value}\t{_plain(about)}\n" for value, about in found))
    return 0


_SHELLS: Final = {"bash": _bash, "zsh": _zsh, "fish": _fish}


def _found(root: Any, environ: Mapping[str, str]) -> list[Offer]:
    line = environ.get("_TYPER_COMPLETE_ARGS", "")
    words = [_unquoted(word) for word in re.split(r"\s+", line.lstrip())][1:]
    return offers(root, words[:-1], words[-1] if words else "")


def _unquoted(word: str) -> str:
    """A word as the shell would read it, though a quote of it may be open."""
    for end in ("", "'", '"'):
        try:
            return "".join(shlex.split(word + end))
        except ValueError:
            continue
    return word


def _plain(about: str) -> str:
    """Without what a shell would read as more than text."""
    return re.sub(r"[^\w .,;()/+%-]", " ", about, flags=re.ASCII)
