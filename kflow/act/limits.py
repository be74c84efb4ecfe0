"""The limits that orders are checked against: a TOML file in people's units, whole numbers inside.

Sizes 1e-2 contract, money 1e-6 dollar, prices 1e-4 dollar, times µs. All bounds are inclusive. What does not fit is
refused, never rounded; a limit that the file does not name has its default, and the defaults are small. While an actor
runs, limits can only be lowered.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import stat
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from kflow.errors import ConfigError, UsageError
from kflow.market.limits import OrderLimits
from kflow.private import ours
from kflow.units import CONTRACT, DOLLAR_MONEY

_CENT: Final = 100  # 1e-4 dollar
_SECOND: Final = 1_000_000  # µs
_FILE_BYTES: Final = 65_536
_MOST_DECIMALS: Final = 12
_HEAD: Final = """\
# Limits of kflow actor. What is exactly at a limit is allowed; docs/limits.md tells how each is counted.
# What is not named here has its default. While an actor runs, limits can only be lowered.
"""


class Rule(NamedTuple):
    """A limit in the file: its name and unit, and what it may be, in that unit."""

    key: str
    unit: str
    scale: int  # of the number inside to one of the unit
    low: int
    high: int
    about: str
    less_is_stricter: bool = True

    def shown(self, value: int) -> str:
        """As the file writes it: exact, without needless zeros."""
        whole, rest = divmod(value, self.scale)
        return f"{whole}.{str(rest).zfill(len(str(self.scale)) - 1).rstrip('0')}" if rest else str(whole)

    def stricter(self, one: int, other: int) -> int:
        return min(one, other) if self.less_is_stricter else max(one, other)

    @property
    def takes(self) -> str:
        """What is accepted, in words."""
        step = f", in steps of {self.shown(1)}" if self.scale > 1 else ""
        return f"{self.unit} from {self.low:,} to {self.high:,}{step}"


def _contracts(key: str, about: str) -> Rule:
    return Rule(f"{key}_contracts", "contracts", CONTRACT, 0, 100_000, about)


def _dollars(key: str, about: str) -> Rule:
    return Rule(f"{key}_dollars", "dollars", DOLLAR_MONEY, 0, 100_000, about)


def _cents(key: str, about: str) -> Rule:
    return Rule(f"{key}_cents", "cents", _CENT, 0, 99, about)


def _seconds(key: str, high: int, about: str, *, low: int = 0, less: bool = True) -> Rule:
    return Rule(f"{key}_seconds", "seconds", _SECOND, low, high, about, less)


def _count(key: str, unit: str, low: int, high: int, about: str) -> Rule:
    return Rule(key, unit, 1, low, high, about)


# Every limit by its attribute of `Limits`, in the order of the file.
RULES: Final[Mapping[str, Rule]] = {
    "order_size": _contracts("order", "largest order"),
    "order_cost": _dollars("order", "most that an order can cost, fees included"),
    "collar": _cents("collar", "how far from the middle of the book an order's price may be"),
    "cross": _cents("cross", "how far beyond the other side's best an order's price may be"),
    "order_us": _seconds("order", 120, "how long an order rests without being renewed", low=30),
    "market_size": _contracts("market", "largest position in a market, were its open orders filled"),
    "market_risk": _dollars("market", "most that can be lost in a market"),
    "event_risk": _dollars("event", "most that can be lost in all markets of an event"),
    "total_risk": _dollars("total", "most that can be lost in all markets"),
    "daily_loss": _dollars("daily_loss", "largest loss of a day, positions at their price"),
    "drawdown": _dollars("drawdown", "largest fall from the day's best result"),
    "market_orders": _count("open_orders_per_market", "orders", 0, 100, "most open orders in a market"),
    "total_orders": _count("open_orders", "orders", 0, 1_000, "most open orders in all markets"),
    "throttle_us": _seconds("throttle", 3_600, "shortest time between two orders in a market", less=False),
    "orders_per_minute": _count("orders_per_minute", "orders", 1, 6_000, "most orders in a minute in the long run"),
    "burst": _count("burst_orders", "orders", 1, 1_000, "most orders at once, after a pause"),
    "fills_per_minute": _count("fills_per_minute", "fills", 0, 10_000, "most fills in a minute, then no order leaves"),
    "duplicate_us": _seconds("duplicate", 3_600, "how long an order is not sent a second time", less=False),
    "book_us": _seconds("book_age", 60, "oldest book to trade on, and oldest observation to decide on"),
    "close_us": _seconds("before_close", 86_400, "how long before a market's close orders end", less=False),
}


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What orders may do. Raises ConfigError for a number that a limit cannot be.

    The defaults are small on purpose; nobody measured them.
    """

    order_size: int = 10 * CONTRACT
    order_cost: int = 10 * DOLLAR_MONEY
    collar: int = 10 * _CENT
    cross: int = 1 * _CENT
    order_us: int = 60 * _SECOND  # should the actor fall silent, the venue removes it by itself
    market_size: int = 50 * CONTRACT
    market_risk: int = 25 * DOLLAR_MONEY
    event_risk: int = 50 * DOLLAR_MONEY
    total_risk: int = 100 * DOLLAR_MONEY
    daily_loss: int = 50 * DOLLAR_MONEY
    drawdown: int = 60 * DOLLAR_MONEY  # above daily_loss, or it would always be met first: a day's best is at least 0
    market_orders: int = 4
    total_orders: int = 20
    throttle_us: int = _SECOND // 4
    orders_per_minute: int = 60
    burst: int = 5
    fills_per_minute: int = 30
    duplicate_us: int = 1 * _SECOND
    book_us: int = 5 * _SECOND
    close_us: int = 60 * _SECOND
    # SHA-256 of the file's bytes; where there is none, of the file that would say the same.
    sha256: str = ""

    def __post_init__(self) -> None:
        for name, rule in RULES.items():
            value = getattr(self, name)
            if type(value) is not int or not rule.low * rule.scale <= value <= rule.high * rule.scale:
                raise _misfit(rule, value, "limits")
        if not self.sha256:
            msgspec.structs.force_setattr(self, "sha256", hashlib.sha256(self.text().encode()).hexdigest())

    @property
    def values(self) -> dict[str, int]:
        """Every limit by its attribute, without the hash."""
        return {name: getattr(self, name) for name in RULES}

    @property
    def order(self) -> OrderLimits:
        """Those of a single order, as masks and the guard share them."""
        return OrderLimits(self.order_size, self.market_size, self.market_orders)

    def text(self) -> str:
        """The file that says these limits, with a comment on each."""
        lines = [f"\n# {rule.about} ({rule.takes})\n{rule.key} = {rule.shown(getattr(self, name))}\n"
                 for name, rule in RULES.items()]  # fmt: skip
        return _HEAD + "".join(lines)

    def lowered(self, new: Limits) -> Lowered:
        """Of each limit the stricter of both, and what `new` wanted looser."""
        mine, theirs = self.values, new.values
        both = {name: rule.stricter(mine[name], theirs[name]) for name, rule in RULES.items()}
        looser = tuple(
            f"{rule.key} stays {rule.shown(mine[name])}, {rule.shown(theirs[name])} would be looser"
            for name, rule in RULES.items()
            if both[name] != theirs[name]
        )
        known = new.sha256 if both == theirs else self.sha256 if both == mine else ""
        return Lowered(Limits(**both, sha256=known), looser)

    def capped(self, *, contracts: int, throttle_ms: int) -> Limits:
        """With the settings RL_ACTOR_CONTRACT_SIZE and RL_ACTOR_THROTTLE_MS where they are stricter.

        The hash stays the file's.
        """
        size, throttle_us = min(self.order_size, contracts * CONTRACT), max(self.throttle_us, throttle_ms * 1_000)
        return msgspec.structs.replace(self, order_size=size, throttle_us=throttle_us)


class Lowered(NamedTuple):
    """What holds now, and what was asked for in vain, in words."""

    limits: Limits
    looser: tuple[str, ...]


def load(path: Path) -> Limits:
    """The limits of a file. Raises ConfigError: unreadable, another user's, writable by others, or not understood."""
    return parse(_read(path), str(path))


def parse(content: bytes, where: str = "the limits file") -> Limits:
    """The limits that a file's bytes say; `sha256` is theirs. Raises ConfigError."""
    try:
        table = tomllib.loads(content.decode("utf-8"), parse_float=Decimal)
    except UnicodeDecodeError:
        raise ConfigError(f"{where} is not UTF-8", hint="kflow actor limits writes one with every default") from None
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise ConfigError(f"{where} is not TOML: {error}", hint="kflow actor limits writes an example") from None
    keys = {rule.key: name for name, rule in RULES.items()}
    found: dict[str, int] = {}
    for key, value in table.items():
        if key not in keys:
            near = difflib.get_close_matches(key, keys, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else "kflow actor limits shows all there are"
            raise ConfigError(f"{where}: there is no limit {key}", hint=hint)
        found[keys[key]] = _amount(RULES[keys[key]], value, where)
    return Limits(**found, sha256=hashlib.sha256(content).hexdigest())


def write(path: Path, limits: Limits | None = None) -> None:
    """Write a limits file, by default with every default, for the owner alone.

    Raises UsageError where something is there already, ConfigError where it cannot be written.
    """
    text = (limits or Limits()).text()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{path} is there already", hint="edit it, or choose another name") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}", hint="choose a folder of yours") from None


def _amount(rule: Rule, value: Any, where: str) -> int:
    """A number of the file as the whole number inside: no boolean, no text, not NaN."""
    fits = type(value) is int or (type(value) is Decimal and value.is_finite())
    if not fits or not rule.low <= value <= rule.high:
        raise _misfit(rule, value, where)
    exponent = value.as_tuple().exponent if isinstance(value, Decimal) else 0
    # Looked at before the fraction is made: that of 1e-999999 alone takes long.
    if not isinstance(exponent, int) or exponent < -_MOST_DECIMALS:
        raise _misfit(rule, value, where)
    numerator, denominator = value.as_integer_ratio()
    scaled, rest = divmod(int(numerator) * rule.scale, int(denominator))
    if rest:
        raise _misfit(rule, value, where)
    return scaled


def _misfit(rule: Rule, value: Any, where: str) -> ConfigError:
    # Python refuses to write a whole number of many digits in decimals.
    shown = hex(value) if type(value) is int and value.bit_length() > 64 else str(value)
    return ConfigError(f"{where}: {rule.key} cannot be {shown[:40]}", hint=f"it takes {rule.takes}")


def _read(path: Path) -> bytes:
    """The content of a file that nobody else can change, judged by the file that was opened, not by its name."""
    try:
        # NONBLOCK, since opening a FIFO would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            _check(os.fstat(descriptor), path)
            content = os.read(descriptor, _FILE_BYTES + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ConfigError(
            f"the limits file {path} cannot be read: {error.strerror}", hint="kflow actor limits writes one"
        ) from None
    if len(content) > _FILE_BYTES:
        raise ConfigError(f"the limits file {path} is larger than {_FILE_BYTES:,} bytes", hint="it is something else")
    return content


def _check(status: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"the limits file {path} is not a regular file", hint="point it at a TOML file")
    if not ours(status):
        raise ConfigError(f"the limits file {path} belongs to another user", hint=f"chown $(id -un) {path}")
    if status.st_mode & 0o022:
        mode = stat.S_IMODE(status.st_mode)
        raise ConfigError(
            f"the limits file {path} can be changed by others (mode {mode:04o})",
            hint=f"look at it, then chmod 600 {path}",
        )
