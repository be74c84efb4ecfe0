"""What a stream may have beside books: trades and the state of all, and what they cannot cost."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import websockets

from kflow.act.holdings import Holdings, Resting
from kflow.act.pulse import Pulse, read
from kflow.testing.living import Living
from kflow.testing.recording import FIRST, PACE, SECOND
from kflow.web.broadcast import Pace
from kflow.web.pulse import Pulse as WebPulse
from kflow.web.state import MARKETS, State

FAST = Pace(interval_s=0.005, heartbeat_s=60.0, state_s=0.02)


@asynccontextmanager
async def stream(http: Any, query: str) -> Any:
    url = f"ws://{http.base_url.host}:{http.base_url.port}/rl/ws{query}"
    async with websockets.connect(url, proxy=None) as client:
        yield client


async def next_of(client: Any, kind: str) -> dict[str, Any]:
    async with asyncio.timeout(5):
        while True:
            message: dict[str, Any] = json.loads(await client.recv())
            if message["type"] == kind:
                return message


async def looked(session: Any, **changed: Any) -> dict[str, Any]:
    """One state, without a socket."""
    service = session.service(**changed)
    pulse = WebPulse(service)
    pulse.look()
    found: dict[str, Any] = json.loads(await State(service, pulse).text(1))
    return found


async def test_who_asks_for_nothing_more_gets_nothing_more(session: Any, serving: Any) -> None:
    session.start()
    async with serving(pace=FAST) as http, stream(http, f"?market={FIRST}") as client:
        assert (await next_of(client, "hello"))["recorded"] == [FIRST, SECOND]
        session.receive(session.trade("0.4600", "3.00"), session.delta("0.4300", "1.00"))
        kinds = [json.loads(await client.recv())["type"] for _ in range(2)]
        assert kinds == ["snapshot", "delta"]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.recv()


async def test_a_part_that_there_is_not_is_refused(session: Any, serving: Any) -> None:
    async with serving() as http:
        with pytest.raises(websockets.InvalidStatus) as caught:
            async with stream(http, "?with=trades&with=secrets"):
                pass
    answer = caught.value.response
    assert answer.status_code == 400
    assert json.loads(answer.body or b"") == {
        "error": "the stream has no part secrets",
        "hint": "there are with=trades and with=state",
    }


async def test_first_the_last_trades_then_what_is_new(session: Any, serving: Any) -> None:
    session.start()
    at_ms = session.clock.wall_ns() // 1_000_000 - 3
    session.receive(session.trade("0.4600", "3.00"), session.trade("0.4400", "1.50", taker="no"))
    session.receive(session.trade("0.9000", "9.00", market=SECOND))
    async with serving() as http, stream(http, f"?market={FIRST}&with=trades") as client:
        first = await next_of(client, "trades")
        assert (first["market"], first["missed"]) == (FIRST, 0)
        assert first["trades"] == [[at_ms, 4600, 300, "yes"], [at_ms, 4400, 150, "no"]]
        session.receive(session.trade("0.9000", "9.00", market=SECOND))
        session.receive(session.trade("0.4700", "0.01"))
        assert (await next_of(client, "trades"))["trades"] == [[at_ms, 4700, 1, "yes"]]


async def test_a_market_without_trades_says_so(session: Any, serving: Any) -> None:
    session.start()
    async with serving() as http, stream(http, "?with=trades") as client:
        told = [await next_of(client, "trades") for _ in range(2)]
    assert [(message["market"], message["trades"]) for message in told] == [(FIRST, []), (SECOND, [])]


async def test_who_reads_slowly_is_told_how_many_it_missed(session: Any, serving: Any) -> None:
    session.start()
    pace = Pace(interval_s=0.2, heartbeat_s=60)
    async with serving(pace=pace) as http, stream(http, f"?market={FIRST}&with=trades") as client:
        await next_of(client, "trades")
        session.receive(session.trade("0.4600", "1.00"))
        await next_of(client, "trades")  # the next round is 0.2 s away
        for _ in range(250):
            session.receive(session.trade("0.4600", "1.00"))
        message = await next_of(client, "trades")
        assert (len(message["trades"]), message["missed"]) == (200, 50)


async def test_state_is_that_of_the_service(session: Any, serving: Any) -> None:
    session.start()
    session.receive(session.trade("0.4600", "3.00"))
    async with serving(pace=FAST) as http, stream(http, f"?market={FIRST}&with=state") as client:
        told = await next_of(client, "state")
        status = (await http.get("/rl/status")).json()
    recorder = told["recorder"]
    assert recorder["session"] == {k: status["session"][k] for k in ("number", "uuid", "uptime_s", "draining")}
    assert (recorder["status"], recorder["ready"], recorder["problems"]) == ("healthy", True, [])
    assert (recorder["connected"], recorder["reconnects"], recorder["messages"]) == (True, 0, 3)
    assert recorder["gaps"] == {"total": 0, "missing_messages": 0, "resyncs": 0}
    assert recorder["journal"] == {"bytes": session.journal.offset, "failed": False}
    assert recorder["database"]["rows"] == 0
    assert told["markets"] == [[FIRST, True, 4400, 4600, 4600, None], [SECOND, True, 4400, 4600, None, None]]


async def test_what_is_not_known_is_null(session: Any) -> None:
    session.writer = None
    told = await looked(session, writer=lambda: None)
    assert told["recorder"]["database"] is None
    for key in ("last_message_age_s", "rate_per_s", "handle_p99_s", "age_p99_s"):
        assert told["recorder"][key] is None
    assert told["markets"] == [[FIRST, None, None, None, None, None], [SECOND, None, None, None, None, None]]
    actor = told["actor"]
    assert (actor["status"], actor["orders"], actor["positions"], actor["problems"]) == ("disabled", [], [], [])
    for key in ("standing", "standing_reason", "venue", "run", "strategy", "age_s", "cash_e6", "profit_e6"):
        assert actor[key] is None
    assert actor["orders_under_way"] is None


async def test_lateness_is_that_of_the_last_seconds(session: Any) -> None:
    session.start()
    age_s = session.recorder.status.age_s
    for _ in range(1000):
        age_s.add(0.002)
    service = session.service()
    pulse = WebPulse(service)
    state = State(service, pulse)

    async def told(tick: int) -> float | None:
        session.clock.advance(1)
        pulse.look()
        found: float | None = json.loads(await state.text(tick))["recorder"]["age_p99_s"]
        return found

    assert await told(1) is None
    age_s.add(3.0)
    assert await told(2) == 5.0  # though of all that ever came p99 is 5 ms
    age_s.add(60.0)
    assert await told(3) == -1.0  # beyond what is measured
    assert [await told(tick) for tick in range(4, 9)][-1] is None  # nothing came since


async def test_changes_per_second_are_those_of_the_last_look(session: Any) -> None:
    session.start()
    service = session.service()
    state = State(service, WebPulse(service))

    async def rates(tick: int) -> list[float | None]:
        return [row[5] for row in json.loads(await state.text(tick))["markets"]]

    assert await rates(1) == [None, None]
    session.receive(*[session.delta("0.4300", "1.00") for _ in range(30)])
    session.clock.advance(2)
    assert await rates(2) == [15.0, 0.0]
    session.disconnect()
    session.connect()  # versions begin anew: nothing can be said of that second
    session.receive(session.snapshot(FIRST, yes=[("0.4000", "1.00")]))
    session.clock.advance(1)
    assert await rates(3) == [None, None]


async def test_one_look_serves_all_of_a_tick(session: Any) -> None:
    session.start()
    service = session.service()
    state = State(service, WebPulse(service))
    first, second = await asyncio.gather(state.text(1), state.text(1))
    assert first is second
    assert await state.text(2) is not first


async def test_many_markets_leave_the_loop_its_turns_and_are_bounded(session: Any) -> None:
    session.start()
    markets = tuple(f"M{number}" for number in range(MARKETS + 50))
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    told = await looked(session, markets=markets)
    counting.cancel()
    assert (len(told["markets"]), told["markets_left_out"]) == (MARKETS, 52)
    assert turns >= MARKETS // 20 - 1


async def test_the_actor_is_what_its_folder_tells(session: Any, tmp_path: Any) -> None:
    living = Living(session.standing.folder.parent)
    living.work()
    pulse = Pulse(living.vitals(), living.data)
    held = Holdings(
        orders=[Resting("mine", FIRST, 1, 5400, 250, 1200), Resting("other", FIRST, 0, 4400, 100, None)],
        under_way=1,
        positions={FIRST: -300},
        cash=999_000_000,
        profit=-1_250_000,
    )
    pulse.write(msgspec.structs.replace(pulse.look(), holdings=held))
    told = await looked(session, actor=lambda: read(living.data, enabled=False, clock=living.clock))
    actor = told["actor"]
    assert (actor["status"], actor["standing"], actor["venue"], actor["age_s"]) == ("healthy", "active", "local", 0.0)
    mine, other = actor["orders"]
    assert mine == {"id": "mine", "market": FIRST, "side": "no", "action": "buy"} | {
        "price_e4": 5400,
        "left_e2": 250,
        "ahead_e2": 1200,
    }
    assert (other["side"], other["price_e4"], other["ahead_e2"]) == ("yes", 4400, None)
    assert (actor["orders_left_out"], actor["orders_under_way"]) == (0, 1)
    assert actor["positions"] == [{"market": FIRST, "yes_e2": -300}]
    assert (actor["cash_e6"], actor["profit_e6"]) == (999_000_000, -1_250_000)


async def test_of_a_dead_actor_the_last_known_is_told_with_its_age(session: Any) -> None:
    living = Living(session.standing.folder.parent)
    living.work()
    pulse = Pulse(living.vitals(), living.data)
    held = Holdings(orders=[Resting("mine", FIRST, 0, 4400, 100, None)])
    pulse.write(msgspec.structs.replace(pulse.look(), holdings=held))
    living.clock.advance(60)
    told = await looked(session, actor=lambda: read(living.data, enabled=False, clock=living.clock))
    assert (told["actor"]["status"], told["actor"]["age_s"]) == ("unhealthy", 60.0)
    assert len(told["actor"]["orders"]) == 1
    assert "no sign of life" in told["actor"]["problems"][0]


async def test_a_state_that_cannot_be_told_ends_the_stream_and_not_the_service(session: Any, serving: Any) -> None:
    def broken() -> int:
        raise RuntimeError("canary-of-a-secret")

    session.start()
    async with serving(pace=PACE, session_number=broken) as http:
        with pytest.raises(websockets.ConnectionClosedError) as caught:
            async with stream(http, "?with=state") as client:
                await next_of(client, "state")
        assert "canary" not in str(caught.value)
        assert (await http.get("/livez")).status_code == 200
