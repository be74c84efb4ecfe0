"""The steps of `kflow demo`: each is a few commands of kflow, and the figures that came out of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

from kflow.act import pulse, standing
from kflow.cli.errands import Errand, Errands
from kflow.clock import SystemClock
from kflow.errors import RiskHalt

MARKET: Final = "INXD-25JAN03"
# Where kflow.toml says that it all lies, in the demo's folder.
DATA: Final = "data"
MODEL: Final = "demo"
INDENT: Final = " " * 10  # of what a step says
_BY_HAND: Final = "join"
# The actor ends by itself after so long; the demo is over sooner, and ends it as Ctrl-C does.
_PAPER_S: Final = 60
_FLAT_S: Final = 15.0  # for the last order to go after a kill


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much of everything. `decisions`: trained for, by the seconds that have passed: the later, the fewer."""

    record_s: int
    decisions: tuple[tuple[float, int], ...]
    markets: int
    horizon_s: int  # of simulated orders
    kill_s: float  # after the actor's first order

    def train(self, passed_s: float) -> int:
        """Decisions to train for when so many seconds of the demo are over."""
        return next(count for until_s, count in self.decisions if passed_s < until_s)


# A machine on which much time has passed by then is slow, or had to compile: what is left has to fit three minutes.
FULL: Final = Scale(
    record_s=20,
    decisions=((60, 600_000), (90, 200_000), (110, 80_000), (math.inf, 30_000)),
    markets=24,
    horizon_s=5,
    kill_s=10,
)
QUICK: Final = Scale(record_s=3, decisions=((math.inf, 16_000),), markets=6, horizon_s=1, kill_s=2)


class Came(NamedTuple):
    """What came out of a step: a sentence or two, and its figures by name."""

    sentences: Sequence[str]
    figures: Mapping[str, Any]


class Step(NamedTuple):
    """A step, and what it does in one line."""

    name: str
    about: str
    run: Callable[[], Came]


class Tour:
    """The steps in order, each on what those before it left."""

    def __init__(self, errands: Errands, scale: Scale) -> None:
        self._errands, self._scale = errands, scale
        self._began = time.monotonic()
        self._session = "1"
        self._trained = False
        self._evaluation = ""
        self._compiling: dict[str, Errand] = {}

    @property
    def steps(self) -> Sequence[Step]:
        return (
            Step("record", "a private exchange makes up markets; each message goes to a journal, then to PostgreSQL",
                 self.record),
            Step("verify", "every book is rebuilt from the tables and from the journal, and compared", self.verify),
            Step("simulate", "what would orders of 10 contracts that join the best bid have got there?", self.simulate),
            Step("train", "a policy learns to quote, in a world with a spread to be earned; on the exchange's markets"
                 " nobody earns but by being quicker", self.train),
            Step("evaluate", "what is it worth on markets that it never saw, beside policies written by hand?",
                 self.evaluate),
            Step("paper", "it trades live books with no money; then somebody pulls the kill switch", self.paper),
            Step("report", "the evaluation as one page that loads nothing", self.report),
        )  # fmt: skip

    @property
    def page(self) -> Path:
        """The report."""
        return self._errands.folder / self._evaluation / "report.html"

    def record(self) -> Came:
        for job in ("simulate", "train"):
            self._compiling[job] = self._errands.aside("kflow.cli.ahead", job)
        seconds = self._scale.record_s
        told = self._errands.run(
            "ingest", "--market", MARKET, "--duration", str(seconds), "--port", "0",
            what=f"recording for {seconds} s", hear=self._address,
        ).result  # fmt: skip
        self._session = str(told["session"])
        figures = {key: told[key] for key in ("session", "markets", "messages", "gaps")}
        return Came(
            ["session {session}: {messages:,} messages of {markets} markets, {gaps} gaps".format(**figures)], figures
        )

    def _address(self, line: str) -> None:
        """The recorder says where it can be looked at."""
        if line.startswith("look at "):
            self._errands.say(f"{INDENT}to be looked at meanwhile: {line.removeprefix('look at ')}")

    def verify(self) -> Came:
        told = self._errands.run("replay", "verify", "--session", self._session, what="rebuilding every book").result
        figures = {
            key: told[key] for key in ("equal", "messages", "gaps", "crossed", "digest_tables", "digest_journal")
        }
        verdict = "equal" if told["equal"] else "NOT equal"
        digests = f"{told['digest_tables'][:12]} and {told['digest_journal'][:12]}"
        return Came([f"{verdict}: digests {digests}; {told['crossed']} crossed books"], figures)

    def simulate(self) -> Came:
        figures = self._compiled("simulate")
        horizon = str(self._scale.horizon_s)
        told = self._errands.run(
            "simulate", "--sessions", self._session, "--order-size", "10", "--horizon", horizon,
            what="playing the orders",
        ).result  # fmt: skip
        band = {one["model"]: one["horizons"][-1]["full"] for one in told["results"] if one["day"] is None}
        first = told["results"][0]
        figures |= {
            "orders": first["orders"],
            "horizon_s": self._scale.horizon_s,
            "filled": band,
            "ahead_contracts": first["ahead_contracts"]["p50"],
        }
        return Came(_simulated(figures), figures)

    def train(self) -> Came:
        figures = self._compiled("train")
        missing = _missing()
        if missing:
            return Came([f"left out, since {missing} is not installed: pip install 'kflow[train]'",
                         "a policy written by hand goes on instead"], {**figures, "missing": missing})  # fmt: skip
        steps = self._scale.train(time.monotonic() - self._began)
        told = self._errands.run(
            "train", "--world", "maker", "--actions", "maker", "--sizes", "5", "--max-position", "20",
            "--episode", "1m", "--name", MODEL, "-n", str(steps), what="training",
        ).result  # fmt: skip
        self._trained = True
        figures |= {"model": told["model"], "decisions": told["steps"], "held_out_profit": told["held_out_profit"],
                    "held_out_error": told["held_out_error"], "held_out_events": told["held_out_events"],
                    "train_s": told["seconds"]}  # fmt: skip
        return Came(_learnt(figures), figures)

    def evaluate(self) -> Came:
        count = str(self._scale.markets)
        judged, world = (MODEL, "maker") if self._trained else (_BY_HAND, "fair")
        told = self._errands.run(
            "evaluate", judged, "--world", world, "--markets", count, "--episodes", count, "--episode", "3m",
            "--seeds", "2", "--capacity", "1", what="playing the episodes",
        ).result  # fmt: skip
        self._evaluation = str(Path(told["report"]).parent)
        earned = {
            one["contestant"]: one["profit"]["per_event"] for one in told["results"] if one["fill_model"] == "queue"
        }
        beside = ", ".join(f"{name} {_dollars(each)}" for name, each in earned.items() if name not in told["judged"])
        figures = {"evaluation": self._evaluation, "events": told["data"]["events"], "profit_per_event": earned,
                   "sentence": told["sentence"]}  # fmt: skip
        return Came([told["sentence"], f"by hand: {beside}"], figures)

    def paper(self) -> Came:
        sentences = [] if self._trained else [f"{_BY_HAND}, written by hand, trades instead of a model"]
        if self._trained:
            promoted = self._errands.run("models", "promote", MODEL, "paper", data=False, what="promoting the model")
            if promoted.code:
                sentences = [f"the model may not trade ({promoted.error}): {_BY_HAND}, written by hand, does instead"]
                self._trained = False
        self._errands.run("actor", "arm", "--yes", data=False, what="arming").require()
        strategy = ("rl_model", "--model", MODEL) if self._trained else (f"hardcoded:{_BY_HAND}",)
        actor = self._errands.start(
            "actor", "run", "--enable", "--strategy", *strategy, "--market", MARKET, "--duration", str(_PAPER_S)
        )  # fmt: skip
        drill = self._drill(actor)
        actor.ask_to_end()
        self._errands.wait(actor, "comparing its account a last time")
        told = actor.result
        figures = {
            key: told[key] for key in ("strategy", "markets", "decisions", "sent", "fills", "profit", "mismatches")
        }
        figures |= {"refused": sum(told["denied"].values()), "kill": drill}
        return Came([*sentences, *_traded(figures)], figures)

    def _drill(self, actor: Errand) -> dict[str, Any]:
        """Pull the kill switch once it has traded for a while, and watch until nothing rests. Raises RiskHalt."""
        self._watch(actor, "waiting for its first order", _PAPER_S, lambda beat: beat.sent > 0)
        before = self._watch(actor, "trading on paper", self._scale.kill_s, lambda _: False)
        self._errands.run("kill", what="pulling the kill switch").require()
        halted = standing.StandingFile(self._data / standing.FOLDER).now().overall
        after = self._watch(
            actor, "waiting until nothing rests", _FLAT_S, lambda beat: beat.us > halted.us and beat.open_orders == 0
        )
        if after.open_orders or after.us <= halted.us:
            raise RiskHalt("orders were not seen to go after the kill", hint=f"see {self._errands.log}")
        return {
            "open_orders": before.open_orders,
            "open_orders_after": after.open_orders,
            "flat_within_s": round((after.us - halted.us) / 1e6, 2),  # it says how it is once a second
            "standing": halted.standing.value,
        }

    @property
    def _data(self) -> Path:
        return self._errands.folder / DATA

    def _watch(self, actor: Errand, what: str, seconds: float, enough: Callable[[pulse.Beat], bool]) -> pulse.Beat:
        """What the actor last says of itself, once that is enough or so much time is over. Raises where it ended."""
        beat: pulse.Beat | None = None
        clock = SystemClock()

        def over() -> bool:
            nonlocal beat
            beat = pulse.read(self._data, enabled=True, clock=clock).beat
            return actor.code is not None or (beat is not None and enough(beat))

        self._errands.until(over, what, seconds)
        actor.require()
        if beat is None:
            raise RiskHalt("the actor ended before it was killed", hint=f"see {self._errands.log}")
        return beat

    def report(self) -> Came:
        self._errands.run("report", self._evaluation, data=False, what="writing the page").require()
        page = self.page.relative_to(self._errands.folder)
        size = self.page.stat().st_size
        return Came([f"{page}, {size / 1000:.0f} kB"], {"page": str(page), "bytes": size})

    def _compiled(self, job: str) -> dict[str, Any]:
        """Wait for what was begun with the recording; how long it took where it was really compiled."""
        errand = self._compiling[job]
        self._errands.wait(errand, f"compiling what {job} runs, once on this machine; begun with the recording")
        return {"ahead_s": round(errand.seconds, 1)}


def _simulated(figures: Mapping[str, Any]) -> list[str]:
    shares = [share for share in figures["filled"].values() if share is not None]
    if not shares:
        return ["the recording is too short to follow an order"]
    low, high = 100 * min(shares), 100 * max(shares)
    share = f"{low:.1f} %" if high - low < 0.05 else f"{low:.1f} to {high:.1f} %"
    ahead = figures["ahead_contracts"]
    waited = "" if ahead is None else f"; half wait behind {ahead:,.0f} contracts or more"
    within = f"of {figures['orders']} orders {share} are filled within {figures['horizon_s']} s"
    return [f"{within}, whoever cancels{waited}"]


def _learnt(figures: Mapping[str, Any]) -> list[str]:
    profit, error = figures["held_out_profit"], figures["held_out_error"]
    about = "" if error is None else f" ± {abs(error):.2f}"
    trained = "{model}: {decisions:,} decisions in {train_s:g} s; on the {held_out_events} markets held out it earns"
    return [f"{trained.format(**figures)} {_dollars(profit)}{about} a minute"]


def _traded(figures: Mapping[str, Any]) -> list[str]:
    drill = figures["kill"]
    return [
        "{strategy} on {markets} markets: {decisions:,} decisions, {sent} orders sent, {refused} refused by limits or"
        " the halt, {fills} fills".format(**figures)
        + f", {_dollars(figures['profit'])}",
        "killed while {open_orders} orders rested: {open_orders_after} did {flat_within_s:.1f} s later; it stays halted"
        " until a person arms it".format(**drill),
    ]


def _missing() -> str | None:
    """A package that training needs and that is not installed."""
    from kflow.cli.main import EXTRAS

    for name in EXTRAS["train"]:
        with suppress(ImportError):
            if find_spec(name) is not None:
                continue
        return name
    return None


def _dollars(amount: float) -> str:
    return f"{'-' if round(amount, 2) < 0 else ''}${abs(amount):,.2f}"
