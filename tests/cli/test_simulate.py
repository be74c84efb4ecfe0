"""kflow tape, simulate and calibrate: what they print, what they keep, and what they refuse."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import random
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from kflow.cli import charts
from kflow.record.writer import SessionWriter, load_journal
from kflow.session.chunks import MarketFacts, Opened
from kflow.sim.fills import MODELS
from kflow.store import sessions
from kflow.store.journal import JournalWriter, RecordKind
from kflow.store.journal_reader import JournalReader
from kflow.testing.postgres import Database
from tests.cli.conftest import Kflow, Outcome, refused

Run = Callable[..., Outcome]
MARKET = "KXT-26JAN01-A"
T0_US = 1_767_225_600_000_000 - 30_000_000  # half a minute before 2026 begins
SECONDS = 100


class Market:
    """A market that keeps quoting 44 to 46 cents: orders come, leave and trade; frames as the venue writes them."""

    def __init__(self, seed: int = 1) -> None:
        self.choose = random.Random(seed)
        self.books = ({4400: 6000, 4300: 9000, 4000: 50_000}, {5400: 7000, 5300: 8000, 5000: 50_000})
        self.us = T0_US
        self.frames: list[tuple[int, bytes]] = []
        self.seq = self.trades = self.volume = 0
        for n, channel in enumerate(("orderbook_delta", "trade", "ticker"), 1):
            self.frame({"type": "subscribed", "id": n, "msg": {"channel": channel, "sid": n}})
        levels = [[[f"{p / 1e4:.4f}", f"{s / 100:.2f}"] for p, s in sorted(book.items())] for book in self.books]
        named = {"yes_dollars_fp": levels[0], "no_dollars_fp": levels[1]}
        self.book_frame("orderbook_snapshot", {"market_ticker": MARKET, "market_id": "m", **named})

    def frame(self, frame: dict[str, object]) -> None:
        self.frames.append((self.us * 1000 + 4_000_000, json.dumps(frame, separators=(",", ":")).encode()))

    def book_frame(self, kind: str, body: dict[str, object]) -> None:
        self.seq += 1
        self.frame({"type": kind, "sid": 1, "seq": self.seq, "msg": body})

    def change(self, side: int, price: int, size: int) -> None:
        self.books[side][price] = self.books[side].get(price, 0) + size
        stamp = f"{sessions_time(self.us)}.{self.us % 1_000_000:06d}Z"
        named = {"price_dollars": f"{price / 1e4:.4f}", "delta_fp": f"{size / 100:.2f}", "side": ("yes", "no")[side]}
        body = {"market_ticker": MARKET, **named, "ts": stamp, "ts_ms": self.us // 1000}
        self.book_frame("orderbook_delta", body)

    def trade(self, side: int, price: int, size: int) -> None:
        self.change(side, price, -size)
        self.trades += 1
        yes = price if side == 0 else 10_000 - price
        told = {"yes_price_dollars": f"{yes / 1e4:.4f}", "count_fp": f"{size / 100:.2f}"}
        taker = {"taker_outcome_side": ("no", "yes")[side], "ts_ms": self.us // 1000}
        body = {"market_ticker": MARKET, "trade_id": f"00000000-0000-4000-8000-{self.trades:012d}", **told, **taker}
        self.frame({"type": "trade", "sid": 2, "seq": self.trades, "msg": body})

    def play(self, seconds: int) -> Market:
        """Orders of many sizes; takers eat those in front, and whole ones are withdrawn from anywhere."""
        choose = self.choose
        queues = {(side, p): [size] for side, book in enumerate(self.books) for p, size in book.items()}
        end = self.us + seconds * 1_000_000
        while self.us < end:
            self.us += choose.randrange(20_000, 120_000)
            side = choose.randrange(2)
            price = choose.choice([4400, 4300] if side == 0 else [5400, 5300])
            queue, roll = queues[side, price], choose.random()
            if roll < 0.3 and len(queue) > 3 and price in (4400, 5400):
                size = min(queue[0], choose.randrange(100, 1500))
                queue[0] -= size
                self.trade(side, price, size)
                queues[side, price] = [left for left in queue if left]
            elif roll < 0.6 and len(queue) > 3:
                self.change(side, price, -queue.pop(choose.randrange(1, len(queue))))
            else:
                queue.append(choose.randrange(100, 2000))
                self.change(side, price, queue[-1])
        return self


def sessions_time(us: int) -> str:
    return f"{datetime.fromtimestamp(us // 1_000_000, UTC):%Y-%m-%dT%H:%M:%S}"


def write_frames(path: Path, market: Market) -> Path:
    lines = [f'{{"recv_ns":{ns},"conn":1,"frame":{frame.decode()}}}\n' for ns, frame in market.frames]
    path.write_text("".join(lines))
    return path


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of 100 s over midnight."""
    return write_frames(tmp_path_factory.mktemp("frames") / "frames.jsonl", Market().play(SECONDS))


@pytest.fixture
def run(kflow: Kflow, frames: Path) -> Run:
    """`run("simulate", …)` on that recording."""
    return lambda *words, **environ: kflow(*words, "--from", frames, **environ)


# --- tapes


def test_tape_build_compiles_once_and_says_how_trades_are_known(run: Run, tmp_path: Path) -> None:
    [built] = run("tape", "build", "--json").json["tapes"]
    assert (built["market"], built["from"], built["stretches"]) == (MARKET, "frames.jsonl", 1)
    assert (built["trades_known_by"], built["ends"], built["columns"]) == ("channel", ["the recording ended"], 99)
    assert built["traded_contracts"] > 50
    assert built["printed_contracts"] == 0
    assert built["seconds"] == pytest.approx(SECONDS, abs=1)
    [kept] = (tmp_path / "data" / "tapes").rglob("tape.json")
    written = kept.stat().st_mtime_ns
    assert run("tape", "build", "--json").json["tapes"] == [built]
    assert kept.stat().st_mtime_ns == written
    assert run("tape", "build", "--rebuild", "--json").json["tapes"] == [built]
    assert kept.stat().st_mtime_ns != written
    people = run("tape", "build")
    assert MARKET in people.out
    assert "1 markets, 1 min" in people.err


def test_tape_info_checks_that_each_tape_is_what_was_kept(run: Run, tmp_path: Path) -> None:
    [told] = run("tape", "info", "--json").json["tapes"]
    assert len(told["digest"]) == 64
    [file] = (tmp_path / "data" / "tapes").rglob("size.npy")
    content = bytearray(file.read_bytes())
    content[-2] ^= 1
    file.write_bytes(content)
    refused(run("tape", "info"), 6, f"the tape of {MARKET} is damaged", "kflow tape build --rebuild")
    assert run("tape", "build", "--rebuild").code == 0
    assert run("tape", "info", "--json").json["tapes"] == [told]


def test_a_session_is_simulated_from_its_tables_and_from_its_journal(
    kflow: Kflow, database: Database, frames: Path, tmp_path: Path
) -> None:
    journal = JournalWriter(tmp_path / "journal", uuid4())
    market = Market().play(SECONDS)
    ranges = [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}]
    facts = [MarketFacts(ticker=MARKET, price_ranges=ranges, fee_type="quadratic", fee_multiplier="0.5")]
    first = market.frames[0][0]
    journal.append_record(RecordKind.MARKETS, 0, first, first, msgspec.json.encode(facts))
    journal.append_record(RecordKind.CONNECTED, 1, first, first, msgspec.json.encode(Opened("ws://127.0.0.1:1/x")))
    for ns, frame in market.frames:
        journal.append_frames(1, ns, ns, [frame])
    journal.sync()
    journal.close()
    with database.connect(autocommit=True) as conn:
        card = sessions.NewSession(
            uuid=journal.session, started_ns=first, environment="local", use_yes_price=False, sample_rate=1,
            kflow_version="0.1.0", host="here", journal_dir=str(tmp_path / "journal"), selection={"markets": [MARKET]},
        )  # fmt: skip
        number = sessions.create_session(conn, card)
        load_journal(SessionWriter(conn, number, sample_rate=1), JournalReader(tmp_path / "journal"))
        sessions.close_session(conn, number, 2**62)
    found = []
    for words in (["--sessions", number], [], ["--source", "journal"], ["--market", MARKET]):
        done = kflow("simulate", "--latency", "none", *words, "--json", DATABASE_URL=database.dsn)
        assert done.code == 0, done.err
        found.append(done.json)
    assert found[0]["results"] == found[1]["results"] == found[2]["results"] == found[3]["results"]
    assert found[0]["assumptions"]["fees"] == ["quadratic x 0.5: recorded"]
    assert found[0]["tapes"][0]["from"] == "session 1"
    of_file = kflow("simulate", "--latency", "none", "--from", frames, "--json").json
    assert of_file["tapes"][0]["digest"] == found[0]["tapes"][0]["digest"]
    assert of_file["results"][0]["horizons"] == found[0]["results"][0]["horizons"]
    refused(kflow("simulate", "--sessions", "9", DATABASE_URL=database.dsn), 2, "no session has the number 9")
    refused(kflow("simulate", "--sessions", "2-9", DATABASE_URL=database.dsn), 2, "no session is recorded in 2-9")
    refused(kflow("simulate", "--market", "NONE", DATABASE_URL=database.dsn), 2, "this recording has no market NONE")
    refused(kflow("simulate", "--sessions", "x", DATABASE_URL=database.dsn), 2, "'x' does not name sessions")


# --- results


def test_simulate_tells_the_band_with_all_it_rests_on(run: Run) -> None:
    whole = run("simulate", "--order-size", 250, "--json").json
    assert whole["schema_version"] == 1
    assert (whole["side"], whole["price"], whole["every_s"], whole["seed"]) == ("both", "join", 1.0, 0)
    assert [result["model"] for result in whole["results"]] == ["queue", "queue-pessimistic", "queue-optimistic"]
    told = whole["assumptions"]
    assert set(told["models"]) == {"queue", "queue-pessimistic", "queue-optimistic"}
    queue = told["models"]["queue"]
    assert (queue["calibration"], queue["cancellations_ahead"], queue["power"]) == ("none", 0.5, 1.0)
    assert (told["latency"], told["trades"]) == ("home", ["channel"])
    fees = "quadratic x 1: assumed, the recording does not say"
    assert told["fees"] == [fees]
    assert (told["walk_from_contracts"], told["consumed_back_s"]) == (20.0, 5.0)
    [tape] = whole["tapes"]
    assert (tape["market"], tape["stretches"], tape["trades"], tape["fees"]) == (MARKET, 1, "channel", fees)
    assert len(tape["digest"]) == 64
    for result in whole["results"]:
        assert (result["contracts"], result["grid_ms"], result["day"]) == (250.0, None, None)
        assert result["orders"] > 180
        assert [horizon["seconds"] for horizon in result["horizons"]] == [1.0, 10.0, 60.0]
        assert [mark["seconds"] for mark in result["markouts"]] == [1, 10, 60]
        assert result["horizons"][2]["orders"] < result["horizons"][0]["orders"]
    pessimistic, queue, optimistic = (
        result["horizons"][2]["share"] for result in sorted(whole["results"], key=lambda r: ORDER.index(r["model"]))
    )
    assert 0 < pessimistic <= queue <= optimistic < 1


OWN = "my_queues:even"
ORDER = ["queue-pessimistic", "queue", "queue-optimistic"]


def test_the_same_command_gives_the_same_bytes(run: Run) -> None:
    words = ("simulate", "--model", "probabilistic", "--every", 3, "--json")
    first = run(*words)
    assert run(*words).out == first.out
    assert run(*words, "--seed", 1).json["results"] != first.json["results"]


def test_for_people_there_are_a_table_bars_and_what_it_rests_on(run: Run) -> None:
    done = run("simulate", "--order-size", 250, "--order-size", 10)
    assert done.code == 0
    assert "queue-pessimistic" in done.out
    assert "vwap ¢  slippage ¢" in done.out
    assert "filled in full, 250 contracts, queue\n" in done.out
    assert "filled in full, 10 contracts, queue\n" in done.out
    assert "█" in done.out
    assert "on 1 markets, 1 min" in done.err
    assert "trades: channel" in done.err
    assert "queue: pro rata, cancellations ahead 0.5, power 1\nlatency home; fees quadratic x 1" in done.err
    assert "of too few hours for a ±" in done.err
    rows = list(csv.DictReader(io.StringIO(run("simulate", "--format", "csv").out)))
    assert [row["model"] for row in rows] == ["queue", "queue-pessimistic", "queue-optimistic"]
    assert all(0 < float(row["full_60s"]) <= 1 and float(row["ahead_contracts_p50"]) > 0 for row in rows)
    lines = run("simulate", "--format", "ndjson").out.splitlines()
    assert [json.loads(line)["model"] for line in lines] == ["queue", "queue-pessimistic", "queue-optimistic"]


@pytest.mark.parametrize("model", MODELS)
def test_any_model_may_be_asked_for(run: Run, model: str) -> None:
    done = run("simulate", "--model", model, "--every", 5, "--json")
    assert [result["model"] for result in done.json["results"]] == list(
        dict.fromkeys([model, "queue-pessimistic", "queue-optimistic"])
    )


def test_a_queue_of_ones_own_fills_as_what_it_says_and_is_told_to_be_ones_own(run: Run, tmp_path: Path) -> None:
    text = "def even(x):\n    return x\n\ndef most(x):\n    return 2 * x\n"
    (tmp_path / "my_queues.py").write_text(text)
    words = ("simulate", "--every", 5, "--order-size", 10, "--json")
    told = run(*words, "--model", "queue", "--model", "my_queues:even").json
    mine, ours = ([{**one, "model": ""} for one in told["results"] if one["model"] == name] for name in (OWN, "queue"))
    assert mine == ours != []
    model = told["assumptions"]["models"][OWN]
    assert model == {
        "about": f"a queue of one's own (my_queues.py, SHA-256 {hashlib.sha256(text.encode()).hexdigest()[:12]}…)",
        "cancellations_ahead": 0.5,
        "power": None,
        "own": True,
        "calibration": "none",
    }
    assert f"{OWN}: a queue of one's own (my_queues.py" in run(*words[:-1], "--model", OWN).err
    refused(run(*words, "--model", "my_queues:most"), 3, "my_queues:most(0.503906) is 1.00781, which is no share")
    refused(run(*words, "--model", "my_queues:none"), 3, "my_queues:none cannot be had")


@pytest.mark.parametrize(
    ("words", "price", "filled"),
    [
        (("--side", "yes", "--price", "cross"), 4600, True),
        (("--side", "no", "--price", "cross", "--ioc"), 5600, True),
        (("--side", "no", "--price", "sweep"), 5600, True),
        (("--side", "yes", "--price", "improve", "--ioc"), 4500, False),
        (("--side", "yes", "--price", "0.46", "--ioc"), 4600, True),
    ],
)
def test_an_order_is_sent_where_it_was_asked_to(run: Run, words: tuple[str, ...], price: int, filled: bool) -> None:
    done = run("simulate", *words, "--latency", "none", "--every", 4, "--horizon", 0.01, "--json")
    [result, *_] = done.json["results"]
    assert result["horizons"][0]["full"] == float(filled)
    assert result["vwap_cents"] == (price / 100 if filled else None)
    assert result["maker"] == (0.0 if filled else None)


def test_by_day_cuts_the_same_orders(run: Run) -> None:
    results = run("simulate", "--by", "day", "--json").json["results"]
    queue = [result for result in results if result["model"] == "queue"]
    assert [result["day"] for result in queue] == [None, "2025-12-31", "2026-01-01"]
    assert queue[0]["orders"] == queue[1]["orders"] + queue[2]["orders"]
    assert 55 <= queue[1]["orders"] <= 60
    people = run("simulate", "--by", "day").out
    assert "2025-12-31" in people


def test_on_a_grid_the_difference_is_told(run: Run) -> None:
    done = run("simulate", "--grid", 250)
    assert done.code == 0
    notes = [line for line in done.err.splitlines() if "on the 250 ms grid" in line]
    assert [note.split(": ")[0] for note in notes] == [f"10 contracts, {model}" for model in ("queue", *ORDER[::2])]
    assert all(" points at 1 s, " in note and note.endswith(" points at 60 s") for note in notes)
    results = run("simulate", "--grid", 250, "--json").json["results"]
    assert [result["grid_ms"] for result in results] == [None, 250.0] * 3


@pytest.mark.parametrize(("name", "begins"), [("fills.png", b"\x89PNG"), ("fills.svg", b"<?xml")])
def test_a_plot_is_written(run: Run, tmp_path: Path, name: str, begins: bytes) -> None:
    done = run("simulate", "--every", 5, "--order-size", 10, "--order-size", 250, "--plot", name)
    assert done.code == 0, done.err
    assert f"drawn to {name}" in done.err
    first = (tmp_path / name).read_bytes()
    assert first.startswith(begins)
    assert len(first) > 5_000
    run("simulate", "--every", 5, "--order-size", 10, "--order-size", 250, "--plot", name)
    assert (tmp_path / name).read_bytes() == first


def test_a_plot_of_another_kind_is_misuse(run: Run, tmp_path: Path) -> None:
    done = run("simulate", "--every", 20, "--plot", "fills.pdf")
    assert done.code == 2
    assert done.err.endswith("error: a plot is a .png or an .svg, not fills.pdf\nhint: --plot fills.svg\n")
    assert not (tmp_path / "fills.pdf").exists()


def test_a_plot_of_another_kind_is_refused_before_any_work(run: Run) -> None:
    refused(run("simulate", "--every", 20, "--plot", "fills.pdf"), 2, "a plot is a .png or an .svg")


def test_a_plot_that_cannot_be_written_is_told_of(run: Run) -> None:
    done = run("simulate", "--every", 20, "--plot", "absent/fills.png")
    assert done.code == 3
    assert "error: cannot write absent/fills.png: No such file or directory" in done.err


def test_a_plot_where_nothing_was_filled_is_a_plot(run: Run, tmp_path: Path) -> None:
    done = run("simulate", "--every", 20, "--price", "0.01", "--side", "yes", "--horizon", 1, "--plot", "none.png")
    assert done.code == 0, done.err
    assert (tmp_path / "none.png").stat().st_size > 5_000


def test_bars_are_as_long_as_the_share() -> None:
    assert charts.bars([("1 s", 0.5, 0.012), ("10 s", 1.0, None), ("60 s", None, None), ("x", 0.003, 0.0)]) == [
        f"1 s   {'█' * 20:<40}  50.0 ± 1.2 %",
        f"10 s  {'█' * 40} 100.0 %",
        "60 s  —",
        f"x     {'▏':<40}   0.3 ± 0.0 %",
    ]


def test_an_orders_life_is_told(run: Run) -> None:
    done = run("simulate", "--trace", 0, "--latency", "20/20/5")
    first, second, sent, rests, *queue = done.out.splitlines()
    assert first == f"order 0: buy 10 YES in {MARKET}, model queue"
    assert second.startswith("2025-12-31 23:59:30")
    assert second.endswith("Z  YES bid 0.4400, ask 0.4600")
    assert sent == "     +0.000s  sent at 0.4400"
    assert rests.startswith("     +0.025s  reaches the book and rests at 0.4400, ")
    assert any("from ahead of it" in line for line in queue)
    assert queue[-1].endswith(("over: filled", "no longer followed"))
    life = run("simulate", "--trace", 1, "--latency", "20/20/5", "--json").json
    assert (life["number"], life["side"], life["market"], life["model"]) == (1, 1, MARKET, "queue")
    assert [moment["kind"] for moment in life["moments"]][:2] == ["sent", "rests"]
    assert life["moments"][0]["price"] == 5400
    refused(run("simulate", "--trace", 99_999), 2, "there is no order 99999: the study sends")


# --- calibration


@pytest.fixture
def calibrated(run: Run, tmp_path: Path) -> Path:
    done = run("calibrate", "--out", "fit.json")
    assert done.code == 0, done.err
    assert "written" in done.out
    return tmp_path / "fit.json"


def test_a_calibration_is_written_and_simulated_with(run: Run, calibrated: Path) -> None:
    fit = json.loads(calibrated.read_text())
    assert (fit["schema_version"], fit["name"]) == (1, "fit")
    assert set(fit["ahead"]) == {"value", "low", "high", "identified"}
    assert fit["tapes"][0]["market"] == MARKET
    assert len(fit["tapes"][0]["digest"]) == 64
    assert fit["ghosts"]["telling"] > 0
    assert [horizon["seconds"] for horizon in fit["quality"]["horizons"]] == [1.0, 10.0, 60.0]
    fit["ahead"]["value"], fit["power"]["value"] = 0.125, 2.0
    calibrated.write_text(json.dumps(fit))
    told = run("simulate", "--calibration", "fit.json", "--every", 5, "--json").json["assumptions"]
    assert [told["models"]["queue"][name] for name in ("calibration", "cancellations_ahead", "power")] == [
        "fit", 0.125, 2.0,
    ]  # fmt: skip
    assert told["models"]["queue-optimistic"]["calibration"] == "none"
    done = run("simulate", "--calibration", "fit.json", "--latency", "calibrated", "--every", 5)
    assert done.code == 0, done.err
    assert "queue: calibration fit, cancellations ahead 0.125, power 2\nlatency calibrated" in done.err


def test_calibrations_are_numbered_where_they_are_not_named(run: Run, tmp_path: Path) -> None:
    for number in (1, 2):
        told = run("calibrate", "--horizon", 1, "--json").json
        assert told["path"] == str(tmp_path / "data" / "calibrations" / f"{number:04d}.json")
        assert json.loads(Path(told["path"]).read_text())["name"] == f"{number:04d}"


# --- what is refused


WRONG = [
    ("--model magic", 2, "there is no fill model magic"),
    ("--side maybe", 2, "there is no side maybe"),
    ("--latency soon", 2, "'soon' is no latency"),
    ("--latency 1/2", 2, "'1/2' is no latency"),
    ("--latency calibrated", 2, "no calibration measured a latency"),
    ("--order-size 0", 2, "an order of 0 contracts cannot be"),
    ("--order-size -3", 2, "an order of -3 contracts cannot be"),
    ("--order-size 99999999", 2, "an order of 99999999 contracts cannot be"),
    ("--horizon -1", 2, "times are above 0"),
    ("--horizon 0", 2, "times are above 0"),
    ("--horizon inf", 2, "times are above 0"),
    ("--every 0", 2, "times are above 0"),
    ("--every nan", 2, "times are above 0"),
    ("--walk-from -1", 2, "no bound for small orders"),
    ("--by week", 2, "--by week is nothing to cut by"),
    ("--source air", 2, "there is no source air"),
    ("--market NONE", 2, "this recording has no market NONE"),
    ("--sessions 1", 2, "--sessions and --from name two sources"),
    ("--trace -1", 2, "there is no order -1"),
    ("--calibration absent.json", 2, "cannot read absent.json: No such file or directory"),
    ("--json --format csv", 2, "ask for two things"),
]
UNHINTED = [
    ("--latency -5", 2, "'-5' is no latency"),
    ("--latency 601000", 2, "'601000' is no latency"),
    ("--price cheap", 2, "'cheap' is no place for an order"),
    ("--price 1.5", 2, "'1.5' is no place for an order"),
    ("--order-size many", 2, "'many' is not a number of contracts"),
    ("--order-size 0.001", 2, "'0.001' is not a number of contracts"),
]


@pytest.mark.parametrize(("words", "code", "sentence"), WRONG)
def test_what_cannot_be_simulated_is_refused(run: Run, words: str, code: int, sentence: str) -> None:
    refused(run("simulate", *words.split()), code, sentence)


def in_a_sentence(done: Outcome, code: int, sentence: str) -> None:
    """As `refused`, but without a hint."""
    assert (done.code, done.out) == (code, ""), done
    [line] = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert sentence in line
    assert "Traceback" not in done.err
    assert "not expected" not in done.err


@pytest.mark.parametrize(("words", "code", "sentence"), UNHINTED)
def test_a_number_that_is_none_is_refused(run: Run, words: str, code: int, sentence: str) -> None:
    in_a_sentence(run("simulate", *words.split()), code, sentence)


@pytest.mark.parametrize(("words", "code", "sentence"), UNHINTED)
def test_a_number_that_is_none_is_refused_with_a_hint(run: Run, words: str, code: int, sentence: str) -> None:
    refused(run("simulate", *words.split()), code, sentence)


@pytest.mark.parametrize(
    "words",
    [
        "--horizon nan",
        "--latency nan",
        "--latency inf",
        "--walk-from nan",
        "--walk-from inf",
        "--grid 0",
        "--grid -250",
        "--grid nan",
        "--grid 0.0001",
        "--price 0.455",
        "--price 0",
        "--price 1",
    ],
)
def test_numbers_that_make_no_sense_are_refused(run: Run, words: str) -> None:
    done = run("simulate", *words.split())
    assert done.code in (2, 6), done
    in_a_sentence(done, done.code, "")


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        ("", 6, "is no calibration"),
        ("{}", 6, "is no calibration"),
        ('{"schema_version": 1}', 6, "is no calibration"),
        ("\x00", 6, "is no calibration"),
    ],
)
def test_a_calibration_that_is_none(run: Run, tmp_path: Path, content: str, code: int, words: str) -> None:
    (tmp_path / "fit.json").write_text(content)
    refused(run("simulate", "--calibration", "fit.json"), code, words, "kflow calibrate writes one")
    refused(run("simulate", "--calibration", tmp_path), 2, "cannot read")


SURE = {"low": 0, "high": 1, "identified": True}


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"schema_version": 2}, 6, "is a calibration of version 2, not 1"),
        ({"ahead": {"value": 1.5, **SURE}}, 2, "ahead 1.5 and power 1.0 are no queue model"),
        ({"power": {"value": 0, **SURE}}, 2, "are no queue model"),
        ({"latency": None}, 2, "no calibration measured a latency"),
        ({"latency": {"name": "x", "origin": "y", "place": [], "cancel": [1]}}, 2, "latency x holds no times"),
        ({"latency": {"name": 5}}, 6, "the latency of calibration fit cannot be"),
    ],
)
def test_a_calibration_that_cannot_be(
    run: Run, calibrated: Path, change: dict[str, object], code: int, words: str
) -> None:
    calibrated.write_text(json.dumps({**json.loads(calibrated.read_text()), **change}))
    in_a_sentence(run("simulate", "--calibration", "fit.json", "--latency", "calibrated"), code, words)


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (None, 2, "there is no recording"),
        ("hello", 2, "is no recording that kflow reads"),
        ('{"recv_ns":1,', 6, "line 1"),
        ('{"recv_ns":1,"frame":{"type":"x"}}\n', 2, "there is no book to simulate on"),
    ],
)
@pytest.mark.parametrize("command", ["simulate", "tape build", "tape info", "calibrate"])
def test_a_recording_that_is_none(
    kflow: Kflow, tmp_path: Path, command: str, content: str | None, code: int, words: str
) -> None:
    if content is not None:
        (tmp_path / "some.jsonl" if content.startswith("{") else tmp_path / "some").write_text(content)
    path = "some.jsonl" if content is not None and content.startswith("{") else "some"
    refused(kflow(*command.split(), "--from", path), code, words)


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ("--own absent", 2, "cannot read absent: No such file"),
        ("--out /proc/nowhere/fit.json", 3, "cannot write /proc/nowhere/fit.json"),
        ("--horizon -1", 2, "horizons are above 0"),
        ("--horizon nan", 2, "horizons are above 0"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(run: Run, words: str, code: int, sentence: str) -> None:
    in_a_sentence(run("calibrate", *words.split()), code, sentence)


def test_too_few_orders_to_calibrate_on_are_told_of(kflow: Kflow, tmp_path: Path) -> None:
    path = write_frames(tmp_path / "short.jsonl", Market().play(2))
    refused(kflow("calibrate", "--from", path), 6, "too few orders show their fate for a fit")


def test_a_market_too_short_for_an_order_is_no_error(kflow: Kflow, tmp_path: Path) -> None:
    """One event has no time in which an order could be sent."""
    market = Market()
    market.change(0, 4400, 100)
    path = write_frames(tmp_path / "short.jsonl", market)
    done = kflow("simulate", "--from", path, "--json")
    assert done.code == 0, done.err
    assert {result["orders"] for result in done.json["results"]} == {0}
    assert kflow("simulate", "--from", path, "--grid", 250).code == 0


# --- what is loaded


def test_help_of_these_commands_loads_neither_numpy_nor_numba() -> None:
    for words in (
        ["--help"],
        ["simulate", "--help"],
        ["tape", "--help"],
        ["tape", "build", "--help"],
        ["calibrate", "--help"],
    ):
        code = (
            "import json, sys, kflow.cli.main as m\n"
            f"code = m.run({words!r})\n"
            "print(json.dumps([code, [n for n in ('numpy', 'numba', 'matplotlib', 'pyarrow') if n in sys.modules]]))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert json.loads(done.stdout.splitlines()[-1]) == [0, []], words
