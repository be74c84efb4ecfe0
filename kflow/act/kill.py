"""The kill switch: nothing leaves any more, and what rests at the venue is cancelled, until that is seen to be so.

It needs no help from the actor, which may hang or be dead. In this order: the halt is written down; the order groups
are triggered, so that the venue cancels their orders and refuses new ones; the venue is asked what rests still; orders
that may be under way are looked up; what of ours rests is cancelled one by one. That is repeated until the venue shows
nothing. No step waits for another that fails.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
import psycopg

from kflow.act.orders import ENDS, Order, State
from kflow.act.standing import StandingFile, replace_file
from kflow.act.venue import Gone, Refused, Venue, VenueOrder
from kflow.clock import NS_PER_S, Clock
from kflow.errors import DatabaseError, KflowError
from kflow.store.postgres import Connection
from kflow.store.sqlfiles import queries

_log = logging.getLogger(__name__)

DEADLINE_S: Final = 10.0
# One question of the venue, at the longest: what hangs is asked again, since each may be asked twice.
_CALL_S = 2.0
# Without a group an order may be accepted after the halt, and reads of it lag by up to a second.
_LAG_S = 1.5
# Reading what we decided, from a database that may have to be started first.
_LEARN_S: Final = 5.0
_PAUSE_S: Final = (0.05, 0.1, 0.2, 0.5)
_AT_ONCE: Final = 10
_MOST_GROUPS: Final = 16
# Orders that are over are shown by the venue for two weeks; one that revives is ours longer.
_SHOWN_NS: Final = 30 * 86_400 * NS_PER_S
_IN_FLIGHT: Final = frozenset({State.STORED, State.SENT, State.UNKNOWN})

T = TypeVar("T")


class Known(NamedTuple):
    """An order that an actor of ours decided, as it was last heard of."""

    market: str
    state: State
    venue_id: str | None = None


def known_of(orders: Iterable[Order]) -> dict[str, Known]:
    """Orders by client_order_id."""
    return {o.intent.client_order_id: Known(o.intent.market, o.state, o.venue_id) for o in orders}


def stored(conn: Connection, venue: str, now_ns: int) -> dict[str, Known]:
    """Orders of a venue as they were last written down. Raises DatabaseError."""
    chosen = {"venue": venue, "ends": [end.value for end in ENDS], "since_ns": now_ns - _SHOWN_NS}
    try:
        rows = conn.execute(queries("actor")["known"], chosen).fetchall()
    except psycopg.errors.UndefinedTable:
        return {}  # no kflow has used this database
    except psycopg.Error as error:
        raise DatabaseError(f"reading our orders failed: {error.diag.message_primary or error}") from error
    return {str(mine): Known(str(market), _state(status), _text(venue_id)) for mine, market, status, venue_id in rows}


def _state(status: object) -> State:
    """What cannot be understood may be under way."""
    try:
        return State(str(status))
    except ValueError:
        return State.UNKNOWN


def _text(value: object) -> str | None:
    return None if value is None else str(value)


class Left(NamedTuple):
    """What could not be seen to be gone."""

    order: str  # the venue's id, else ours
    market: str
    why: str


@dataclass(slots=True)
class Report:
    """What was done. `flat`: no order of ours rests, or of anybody where everything was to be cancelled."""

    venue: str
    flat: bool = False
    halted: bool = False  # the halt is written down
    took_s: float = 0.0
    rounds: int = 0
    triggered: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    looked_up: int = 0
    others: int = 0  # orders that rest, are not ours, and were left alone
    left: list[Left] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Nothing of ours rests, and nothing can come."""
        return self.flat and self.halted

    @property
    def sentence(self) -> str:
        """All of it, in short: for people, and for a message to them."""
        what = "flat" if self.flat else f"NOT verified flat, {len(self.left)} left"
        did = f"{len(self.triggered)} groups triggered, {len(self.cancelled)} orders cancelled one by one"
        halt = "halted" if self.halted else "the halt could NOT be written"
        return f"{self.venue}: {halt}, {what} after {self.took_s:.2f} s: {did}"

    def document(self) -> dict[str, Any]:
        """For programs."""
        return {**asdict(self), "left": [one._asdict() for one in self.left], "text": self.sentence}


class _Group(msgspec.Struct, frozen=True):
    venue: str
    group: str
    us: int


class Groups:
    """Which order groups an actor has opened, in `groups.json` of its folder: the last ones of all venues."""

    def __init__(self, folder: Path) -> None:
        self.path: Final = folder / "groups.json"

    def of(self, venue: str) -> list[str]:
        """Those of a venue, the newest first. Raises KflowError where the file cannot be read."""
        return [one.group for one in reversed(self._all()) if one.venue == venue]

    def add(self, venue: str, group: str, us: int) -> None:
        """Before its first order: a kill finds it here. Only the actor itself may call it. Raises KflowError."""
        with suppress(KflowError):  # what cannot be read is replaced: the old groups were triggered or are empty
            kept = self._all()
            self._write([*kept, _Group(venue, group, us)][-_MOST_GROUPS:])
            return
        self._write([_Group(venue, group, us)])

    def _all(self) -> list[_Group]:
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=list[_Group])
        except FileNotFoundError:
            return []
        except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
            raise KflowError(f"{self.path} cannot be read: {error}") from error

    def _write(self, groups: list[_Group]) -> None:
        try:
            replace_file(self.path, msgspec.json.encode(groups))
        except OSError as error:
            raise KflowError(f"{self.path} cannot be written: {error.strerror}") from error


def ever_ran(folder: Path) -> bool:
    """Whether an actor has ever begun in this folder."""
    return any((folder / name).exists() for name in ("lock", "groups.json"))


async def kill(
    venue: Venue,
    standing: StandingFile,
    groups: Collection[str],
    known: Callable[[], Mapping[str, Known]],
    *,
    clock: Clock,
    everything: bool = False,
    reason: str = "killed",
    deadline_s: float = DEADLINE_S,
) -> Report:
    """Stop everything of ours at a venue. Never raises: what failed is in the report.

    `known` is called in a thread while groups are triggered already; where it raises KflowError, nobody knows whose
    the orders of the venue are. `everything` cancels all orders of the account, whoever placed them.
    """
    return await _Kill(venue, standing, groups, known, clock, everything, deadline_s).run(reason)


class _Kill:
    """One kill on its way."""

    def __init__(
        self,
        venue: Venue,
        standing: StandingFile,
        groups: Collection[str],
        known: Callable[[], Mapping[str, Known]],
        clock: Clock,
        everything: bool,
        deadline_s: float,
    ) -> None:
        self.venue, self.standing, self.clock, self.everything = venue, standing, clock, everything
        self.report = Report(venue.name)
        self._began_ns, self._deadline_s = clock.mono_ns(), deadline_s
        self._groups = list(dict.fromkeys(groups))
        self._untriggered = set(self._groups)
        self._all_cancelled = not everything
        self._read_known = known
        self._known: Mapping[str, Known] | None = None
        self._in_flight: set[str] = set()
        # Venue ids and their markets, though no list may show them: of orders that were acknowledged, and looked up.
        self._acknowledged: dict[str, str] = {}
        self._found: dict[str, str] = {}
        self._answered: dict[str, float] = {}  # when the venue said of one that it is over
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def run(self, reason: str) -> Report:
        self._halt(reason)
        await asyncio.gather(self._stop_groups(), self._learn())
        while not await self._round():
            if self._passed_s() >= self._deadline_s:
                break
            await self.clock.sleep(_PAUSE_S[min(self.report.rounds - 1, len(_PAUSE_S) - 1)])
            await self._stop_groups()
        self.report.took_s = self._passed_s()
        (_log.info if self.report.done else _log.error)("%s", self.report.sentence)
        return self.report

    def _passed_s(self) -> float:
        return (self.clock.mono_ns() - self._began_ns) / NS_PER_S

    def _halt(self, reason: str) -> None:
        try:
            self.standing.kill(reason, self.clock.wall_ns() // 1000)
            self.report.halted = True
        except KflowError as error:
            self._problem(str(error))

    def _problem(self, text: str) -> None:
        if text not in self.report.problems:
            self.report.problems.append(text)

    async def _learn(self) -> None:
        try:
            self._known = await asyncio.wait_for(asyncio.to_thread(self._read_known), _LEARN_S)
        except (KflowError, TimeoutError) as error:
            self._problem(f"our orders cannot be read: {error or 'no answer'}")
            return
        for mine, order in self._known.items():
            if order.state in _IN_FLIGHT:
                self._in_flight.add(mine)
            if order.state not in ENDS and order.venue_id is not None:
                self._acknowledged[order.venue_id] = order.market

    async def _stop_groups(self) -> None:
        """The venue's own brakes, all at once."""
        await asyncio.gather(*map(self._trigger, sorted(self._untriggered)))
        if not self._all_cancelled:
            self._all_cancelled = await self._asked("cancelling everything", self.venue.cancel_all()) is not None

    async def _trigger(self, group: str) -> None:
        try:
            if await self._asked(f"group {group}", self.venue.trigger_group(group), Refused) is None:
                return
        except Refused as error:
            if error.code != "not_found":
                self._problem(f"group {group}: {error}")
                return
            # What is not there has no orders.
        self._untriggered.discard(group)
        self.report.triggered.append(group)

    async def _round(self) -> bool:
        """Cancel what rests and look up what may; whether there was nothing of either."""
        self.report.rounds += 1
        stopped = not self._untriggered and self._all_cancelled
        truth = await self._asked("the account", self.venue.truth(self.clock.wall_ns() // 1000))
        shown = () if truth is None else truth[0].orders
        resting = [order for order in shown if order.state == "resting"]
        await self._look_up({order.mine: order for order in shown})
        ours = [order for order in resting if self._is_ours(order)]
        self.report.others = len(resting) - len(ours)
        targets = {**self._found, **{order.venue_id: order.market for order in ours}}
        await self._cancel_all(targets)
        if truth is None or not stopped or not self._groups:
            over = {order.venue_id for order in shown if order.state != "resting"}
            more = {venue_id: market for venue_id, market in self._acknowledged.items() if venue_id not in over}
            await self._cancel_all(more)
            targets |= more
        self._tell_left(targets, () if self._known is not None or self.everything else resting)
        self.report.flat = truth is not None and not self.report.left
        return self.report.flat

    def _is_ours(self, order: VenueOrder) -> bool:
        return self.everything or (self._known is not None and order.mine in self._known)

    async def _look_up(self, shown: Mapping[str, VenueOrder]) -> None:
        """Orders that may be under way."""
        self._in_flight -= shown.keys()
        await asyncio.gather(*map(self._find, sorted(self._in_flight)))

    async def _find(self, mine: str) -> None:
        assert self._known is not None
        # A triggered group takes no order any more; without one it may only not be shown yet.
        sure = (bool(self._groups) and not self._untriggered) or self._passed_s() >= _LAG_S
        answer = await self._asked(f"order {mine}", self.venue.find(mine, self._known[mine].market))
        if answer is None:
            return
        self.report.looked_up += 1
        (order,) = answer
        if order is not None and order.state == "resting":
            self._found[order.venue_id] = order.market
        if sure or order is not None:
            self._in_flight.discard(mine)

    async def _cancel_all(self, orders: Mapping[str, str]) -> None:
        await asyncio.gather(*(self._cancel(venue_id, market) for venue_id, market in orders.items()))

    async def _cancel(self, venue_id: str, market: str) -> None:
        if self._passed_s() < self._answered.get(venue_id, -_LAG_S) + _LAG_S:
            return  # what is shown of it may be older
        try:
            if await self._asked(f"cancelling {venue_id}", self.venue.cancel(venue_id, market), Gone) is None:
                return
            self.report.cancelled.append(venue_id)
        except Gone:
            pass
        self._answered[venue_id] = self._passed_s()
        self._acknowledged.pop(venue_id, None)
        self._found.pop(venue_id, None)

    def _tell_left(self, targets: Mapping[str, str], strange: Iterable[VenueOrder]) -> None:
        left = [Left(venue_id, market, "it may rest still") for venue_id, market in targets.items()]
        for mine in sorted(self._in_flight):
            assert self._known is not None
            left.append(Left(mine, self._known[mine].market, "it may be under way"))
        left += [Left(order.venue_id, order.market, "nobody knows whose it is") for order in strange]
        left += [Left(group, "", "this group could not be triggered") for group in sorted(self._untriggered)]
        if not self._all_cancelled:
            left.append(Left("everything", "", "what comes within a minute will not be cancelled"))
        self.report.left = left

    async def _asked(
        self, what: str, question: Awaitable[T], passing: type[KflowError] | tuple[()] = ()
    ) -> tuple[T] | None:
        """The answer; None where there was none in time, or one that says no. Raises what is `passing`."""
        try:
            async with self._places, asyncio.timeout(_CALL_S):
                return (await question,)
        except passing:
            raise
        except TimeoutError:
            self._problem(f"{what}: no answer within {_CALL_S:g} s")
        except Exception as error:  # noqa: BLE001 - whatever fails, the next step has to be tried
            self._problem(f"{what}: {error or type(error).__name__}")
        return None
