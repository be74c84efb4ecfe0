"""/metrics, read by a parser of its own that knows the format's rules and nothing of ours."""

from __future__ import annotations

import re
from typing import Any

import pytest

from kflow.market.events import GapKind
from kflow.web.metrics import METRICS

LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(rf"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{{({LABEL}(?:,{LABEL})*)\}})? (\+Inf|-?[0-9.e+-]+)")

Samples = dict[str, dict[str, float]]


def parsed(text: str) -> tuple[dict[str, str], Samples]:
    """Types by name, and samples by name and labels. Fails on whatever is not in the format."""
    types: dict[str, str] = {}
    samples: Samples = {}
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types
            types[name] = kind
        elif line.startswith("# HELP "):
            assert len(line.split(" ", 3)) == 4
        else:
            match = SAMPLE.fullmatch(line)
            assert match, line
            family = samples.setdefault(match[1], {})
            assert (match[2] or "") not in family, line
            family[match[2] or ""] = float(match[3])
    return types, samples


async def read(http: Any) -> tuple[dict[str, str], Samples]:
    answer = await http.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return parsed(answer.text)


async def test_values_are_those_of_the_session(session: Any, serving: Any) -> None:
    session.start()
    session.receive(session.delta("0.4300", "1.00"), session.delta("0.4300", "1.00", skip=4))
    session.writer.rows.update({"rl_orderbook_deltas": 2})
    session.writer.errors.update({"DatabaseError": 1})
    session.writer.sampled = 5
    async with serving() as http:
        _, samples = await read(http)
    assert samples["kflow_ws_connected"] == {"": 1}
    assert samples["kflow_ws_messages_total"] == {'type="book_delta"': 2, 'type="book_snapshot"': 2}
    assert samples["kflow_ws_last_message_timestamp_seconds"] == {"": 1_700_000_000}
    gaps = {f'kind="{kind.value}"': 0 for kind in GapKind}  # all are there from the start, or no rise would be seen
    assert samples["kflow_book_gaps_total"] == gaps | {'kind="sequence"': 1}
    assert samples["kflow_book_missing_messages_total"] == {"": 4}
    assert samples["kflow_books"] == {'state="live"': 0, 'state="stale"': 2, 'state="invalid"': 0}
    assert samples["kflow_journal_bytes_total"] == {"": session.recorder.status.journal_bytes}
    assert samples["kflow_db_rows_total"] == {'table="rl_orderbook_deltas"': 2}
    assert samples["kflow_db_errors_total"] == {'class="DatabaseError"': 1}
    assert samples["kflow_db_sampled_out_total"] == {"": 5}
    assert samples["kflow_journal_failed"] == samples["kflow_db_failed"] == {"": 0}
    assert samples["kflow_ws_message_age_least_seconds"] == {"": pytest.approx(0.003, abs=1e-6)}
    assert 0 < samples["kflow_disk_free_bytes"][""] <= samples["kflow_disk_size_bytes"][""]
    assert samples["kflow_dropped_total"] == {'where="journal"': 0}
    assert samples["kflow_db_lag_seconds"] == {"": 0}
    assert samples["process_resident_memory_bytes"][""] > 10**6


async def test_every_sample_belongs_to_a_declared_metric(session: Any, serving: Any) -> None:
    session.start()
    session.receive(session.delta("0.4300", "1.00"))
    async with serving() as http:
        types, samples = await read(http)
    assert types == {metric.name: metric.kind for metric in METRICS}
    for name in samples:
        family = re.sub(r"_(bucket|sum|count)$", "", name)
        assert name in types or types.get(family) == "histogram", name
    for metric in METRICS:
        assert (metric.kind == "counter") == metric.name.endswith("_total"), metric.name
        assert metric.name.startswith(("kflow_", "process_"))
        for labels in samples.get(metric.name, {}):
            assert tuple(re.findall(r'(\w+)="', labels)) == metric.labels


async def test_histograms_add_up(session: Any, serving: Any) -> None:
    session.start()
    for _ in range(10):
        session.receive(session.delta("0.4300", "1.00"))
    async with serving() as http:
        _, samples = await read(http)
    for name in ("kflow_ws_handle_seconds", "kflow_ws_message_age_seconds"):
        buckets = list(samples[f"{name}_bucket"].values())
        assert buckets == sorted(buckets)
        assert list(samples[f"{name}_bucket"])[-1] == 'le="+Inf"'
        assert buckets[-1] == samples[f"{name}_count"][""] > 0
        assert samples[f"{name}_sum"][""] > 0


async def test_the_unknown_is_absent(session: Any, serving: Any) -> None:
    session.writer = None
    async with serving() as http:
        _, samples = await read(http)
    for name in (
        "kflow_ws_last_message_timestamp_seconds",
        "kflow_ws_message_age_least_seconds",
        "kflow_db_connected",
        "kflow_db_failed",
        "kflow_db_lag_seconds",
    ):
        assert name not in samples
    assert samples["kflow_ws_connected"] == {"": 0}


async def test_a_clock_that_is_behind_shows_as_an_age_below_nothing(session: Any, serving: Any) -> None:
    session.start()
    session.receive(session.delta("0.4300", "1.00"))  # stamped 3 ms ago
    ahead = session.delta("0.4300", "1.00")
    session.clock.step_wall(-0.4)
    session.receive(ahead)
    async with serving() as http:
        _, samples = await read(http)
        assert samples["kflow_ws_message_age_least_seconds"][""] == pytest.approx(-0.397, abs=1e-6)
        session.clock.advance(180)
        _, samples = await read(http)
        assert "kflow_ws_message_age_least_seconds" not in samples


async def test_labels_are_escaped(session: Any, serving: Any) -> None:
    session.writer.errors['a "quoted"\n\\ class'] = 1
    async with serving() as http:
        _, samples = await read(http)
    assert samples["kflow_db_errors_total"] == {r'class="a \"quoted\"\n\\ class"': 1}


def test_names_that_dashboards_rely_on() -> None:
    promised = """kflow_build_info kflow_ws_connected kflow_ws_messages_total kflow_ws_message_age_seconds
        kflow_ws_handle_seconds kflow_ws_reconnects_total kflow_ws_last_message_timestamp_seconds kflow_book_gaps_total
        kflow_book_missing_messages_total kflow_book_resyncs_total kflow_books kflow_journal_bytes_total
        kflow_journal_lag_messages
        kflow_db_rows_total kflow_db_lag_seconds kflow_db_errors_total kflow_dropped_total"""
    assert set(promised.split()) <= {metric.name for metric in METRICS}


def test_no_metric_has_a_label_per_market() -> None:
    assert not [metric for metric in METRICS if {"market", "ticker"} & set(metric.labels)]
