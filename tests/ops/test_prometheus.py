"""Alerts and dashboards: all that they ask for is exported, all that is exported is watched, and each alert fires."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from kflow.act.orders import Account
from kflow.act.pulse import Pulse
from kflow.testing.living import Living
from kflow.testing.recording import HandDriven
from kflow.web.actor import build_actor_app
from kflow.web.server import serve
from tests.ops.conftest import OPS, ROOT
from tests.web.test_actor import service as actor_service
from tests.web.test_metrics import parsed

yaml = pytest.importorskip("yaml", reason="PyYAML comes with what sweeps need")
ALERTS = OPS / "prometheus" / "alerts.yml"
DASHBOARDS = sorted((OPS / "grafana").glob("*.json"))
RUNBOOK = ROOT / "docs" / "runbook.md"
# What Prometheus adds, and what it has itself.
TARGET = {"job", "instance"}
OWN = {"up", "ALERTS"}
_SELECTOR = re.compile(r"\b([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{([^}]*)\})?(?=[\s)\[}\]*/+<>=-]|$)")
_MATCHER = re.compile(r'(\w+)\s*(=~|=|!=|!~)\s*"([^"]*)"')
Exported = dict[str, dict[str, set[str]]]  # metric -> label -> values


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def panels(path: Path) -> list[dict[str, Any]]:
    return [panel for panel in json.loads(path.read_text())["panels"] if panel["type"] != "row"]


def queries(path: Path) -> list[str]:
    return [target["expr"] for panel in panels(path) for target in panel["targets"]]


def asked(expression: str) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """Each metric of an expression with its label matchers."""
    for name, matchers in _SELECTOR.findall(expression):
        if name.startswith(("kflow_", "process_")) or name in OWN:
            yield name, _MATCHER.findall(matchers)


def labels_of(text: str) -> Exported:
    _, samples = parsed(text)
    found: Exported = {}
    for name, family in samples.items():
        labels = found.setdefault(name, {})
        for shown in family:
            for label, value in re.findall(r'(\w+)="([^"]*)"', shown):
                labels.setdefault(label, set()).add(value)
    return found


@pytest.fixture
async def exported(tmp_path: Path) -> dict[str, Exported]:
    """What the services really answer, by job."""
    recorder = HandDriven(tmp_path / "recorder")
    recorder.start()
    recorder.receive(recorder.delta("0.4300", "1.00"))
    recorder.writer.rows.update({"rl_orderbook_deltas": 1})
    recorder.writer.errors.update({"DatabaseError": 1})
    living = Living(tmp_path)
    living.work()
    living.actor.day.note(1_500_000, living.us)
    living.actor.tally.latency_us.append(1_500)
    found = {}
    async with recorder.served() as at, httpx.AsyncClient(base_url=at.url, trust_env=False) as http:
        found["kflow-ingest"] = labels_of((await http.get("/metrics")).text)
    pulse = Pulse(replace(living.vitals(), account=lambda: Account(1_000_000_000)), living.data)
    async with (
        serve(build_actor_app(actor_service(living, pulse=pulse)), "127.0.0.1", 0) as at,
        httpx.AsyncClient(base_url=at.url, trust_env=False) as http,
    ):
        found["kflow-actor"] = labels_of((await http.get("/metrics")).text)
    return found


def check(expression: str, exported: dict[str, Exported]) -> set[tuple[str, str]]:
    """Assert that all of it is exported; returns the metrics by the job that they are asked of."""
    used = set()
    for name, matchers in asked(expression):
        jobs = [value for label, _, value in matchers if label == "job"]
        assert len(jobs) == 1, f"{name} names no job: both services export some of the same names"
        named = [job for job in exported if re.fullmatch(jobs[0], job)]
        assert named, f"{jobs[0]} is no job of prometheus.yml"
        used |= {(job, re.sub(r"_(bucket|sum|count)$", "", name)) for job in named}
        for job in named if name not in OWN else ():
            assert name in exported[job], f"{job} does not export {name}"
            for label, kind, value in matchers:
                if label in TARGET:
                    continue
                known = exported[job][name].get(label)
                assert known is not None, f"{name} has no label {label}"
                if kind == "=~":
                    assert any(re.fullmatch(value, one) for one in known), f"{name} has no {label} like {value}"
                elif kind == "=":
                    assert value in known, f"{name} has no {label} {value}"
        by = {label for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(", ")}
        known_labels = {label for job in named for family in exported[job].values() for label in family}
        assert by <= known_labels | TARGET | {"le"}
    return used


async def test_alerts_ask_for_what_is_exported_and_say_what_to_do(exported: dict[str, Exported]) -> None:
    assert len({rule["alert"] for rule in rules()}) == len(rules()) > 30
    for rule in rules():
        assert check(rule["expr"], exported), rule["alert"]
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert re.fullmatch(r"\d+[smh]", rule["for"])
        said = rule["annotations"]
        assert said.keys() == {"summary", "description", "runbook"}
        assert said["runbook"] == f"docs/runbook.md#{rule['alert'].lower()}"
        assert len(said["description"]) > 20


def test_every_alert_has_its_chapter_in_the_runbook_and_every_chapter_its_alert() -> None:
    chapters = re.findall(r"^### (\w+)$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE)
    assert chapters == [rule["alert"] for rule in rules()]  # in the order in which they are looked up


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
async def test_a_dashboard_asks_for_what_is_exported(path: Path, exported: Any) -> None:
    for expression in queries(path):
        job = path.stem.replace("recorder", "ingest")
        assert {one for one, _ in check(expression, exported)} == {job}
        assert "$instance" in expression


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_a_dashboard_can_be_read(path: Path) -> None:
    board = json.loads(path.read_text(encoding="utf-8"))
    assert {item["name"] for item in board["templating"]["list"]} == {"datasource", "instance"}
    every = board["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    shown = panels(path)
    assert len({panel["title"] for panel in shown if panel["type"] == "timeseries"}) == len(
        [panel for panel in shown if panel["type"] == "timeseries"]
    )
    cells = set()
    for panel in every:
        at = panel["gridPos"]
        mine = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & mine, f"{panel['title']} lies over another"
        assert at["x"] + at["w"] <= 24
        cells |= mine
    for panel in shown:
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        assert panel["description"].endswith(".")
        assert all(target["legendFormat"] for target in panel["targets"])
        assert {panel["datasource"]["uid"]} | {target["datasource"]["uid"] for target in panel["targets"]} == {
            "${datasource}"
        }


async def test_all_that_is_exported_is_watched(exported: dict[str, Exported]) -> None:
    """A metric that neither an alert nor a dashboard shows would be kept for nobody."""
    used = set()
    for expression in [*(rule["expr"] for rule in rules()), *(query for path in DASHBOARDS for query in queries(path))]:
        used |= check(expression, exported)
    families = {(job, re.sub(r"_(bucket|sum|count)$", "", name)) for job, names in exported.items() for name in names}
    assert families - used == set()


def test_the_scrape_configuration_knows_the_jobs_and_the_ports_of_the_settings() -> None:
    from kflow.settings import Settings

    text = (OPS / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
    commented = re.sub(r"^  # ( *-|  )", r"  \1", text.partition("# Only where")[2], flags=re.MULTILINE)
    ports = {job["job_name"]: job["static_configs"][0]["targets"] for job in yaml.safe_load(text)["scrape_configs"]}
    assert ports == {"kflow-ingest": [f"127.0.0.1:{Settings().web.port}"]}
    assert f'"127.0.0.1:{Settings().actor.port}"' in commented
    assert yaml.safe_load(text)["rule_files"] == [ALERTS.name]


# What is wrong, as series that differ from those of services that are well (a value each 15 s), by the alert that it
# raises, alone or with others that follow from it.
WELL = {
    "kflow-ingest": {
        "up": "1x60",
        "kflow_ws_connected": "1x60",
        "kflow_ws_last_message_timestamp_seconds": "0+15x60",
        'kflow_ws_messages_total{type="book_delta"}': "0+3000x60",
        'kflow_ws_message_age_seconds_bucket{le="0.1"}': "0+100x60",
        'kflow_ws_message_age_seconds_bucket{le="5"}': "0+100x60",
        'kflow_ws_message_age_seconds_bucket{le="+Inf"}': "0+100x60",
        "kflow_ws_message_age_least_seconds": "0.004x60",
        'kflow_ws_handle_seconds_bucket{le="0.0001"}': "0+100x60",
        'kflow_ws_handle_seconds_bucket{le="0.01"}': "0+100x60",
        'kflow_ws_handle_seconds_bucket{le="+Inf"}': "0+100x60",
        'kflow_ws_reconnects_total{reason="closed"}': "0x60",
        'kflow_book_gaps_total{kind="sequence"}': "0x60",
        'kflow_books{state="live"}': "50x60",
        'kflow_books{state="stale"}': "0x60",
        'kflow_books{state="invalid"}': "0x60",
        "kflow_journal_failed": "0x60",
        "kflow_db_connected": "1x60",
        "kflow_db_failed": "0x60",
        "kflow_db_lag_seconds": "0.5x60",
        'kflow_dropped_total{where="journal"}': "0x60",
        "kflow_disk_free_bytes": "500x60",
        "kflow_disk_size_bytes": "1000x60",
        "process_start_time_seconds": "1x60",
        "process_open_fds": "40x60",
        "process_max_fds": "65536x60",
        "process_resident_memory_bytes": "1e8x60",
    },
    "kflow-actor": {
        "up": "1x60",
        'kflow_trading_state{state="active"}': "1x60",
        'kflow_trading_state{state="reducing"}': "0x60",
        'kflow_trading_state{state="halted"}': "0x60",
        "kflow_markets_halted": "0x60",
        "kflow_ws_connected": "1x60",
        "kflow_lease_held": "1x60",
        'kflow_decisions_total{source="join"}': "0+60x60",
        "kflow_decisions_waited_total": "0+5x60",
        "kflow_obs_invalid_total": "0x60",
        'kflow_order_denied_total{reason="throttle"}': "0+1x60",
        "kflow_order_passed_total": "0+10x60",
        'kflow_orders_total{outcome="refused"}': "0x60",
        'kflow_order_ack_seconds_bucket{le="0.1"}': "0+10x60",
        'kflow_order_ack_seconds_bucket{le="5"}': "0+10x60",
        'kflow_order_ack_seconds_bucket{le="+Inf"}': "0+10x60",
        "kflow_order_unresolved_seconds": "0x60",
        "kflow_position_mismatch": "0x60",
        "kflow_reconciled_timestamp_seconds": "0+15x60",
        "kflow_db_connected": "1x60",
        "kflow_db_refused_rows_total": "0x60",
        "kflow_decisions_unwritten_total": "0x60",
        'kflow_alerts_total{outcome="failed"}': "0x60",
    },
}
HALTED = {'kflow_trading_state{state="active"}': "0x60", 'kflow_trading_state{state="halted"}': "1x60"}
REDUCING = {'kflow_trading_state{state="active"}': "0x60", 'kflow_trading_state{state="reducing"}': "1x60"}
ILL: dict[str, tuple[str, dict[str, str], set[str]]] = {
    "KflowIngestDown": ("kflow-ingest", {"up": "0x60"}, set()),
    "KflowIngestDisconnected": ("kflow-ingest", {"kflow_ws_connected": "0x60"}, set()),
    "KflowSilent": ("kflow-ingest", {"kflow_ws_last_message_timestamp_seconds": "0+15x50 750x10"}, set()),
    "KflowReconnects": ("kflow-ingest", {'kflow_ws_reconnects_total{reason="closed"}': "0x40 1+1x20"}, set()),
    "KflowGaps": ("kflow-ingest", {'kflow_book_gaps_total{kind="sequence"}': "0x40 1+1x20"}, set()),
    "KflowBooksNotLive": ("kflow-ingest", {'kflow_books{state="stale"}': "0x40 2x20"}, set()),
    "KflowMessagesOld": ("kflow-ingest", {'kflow_ws_message_age_seconds_bucket{le="0.1"}': "0+10x60"}, set()),
    "KflowHandlingSlow": ("kflow-ingest", {'kflow_ws_handle_seconds_bucket{le="0.0001"}': "0+10x60"}, set()),
    "KflowClockOff": ("kflow-ingest", {"kflow_ws_message_age_least_seconds": "-0.3x60"}, set()),
    "KflowDropped": ("kflow-ingest", {'kflow_dropped_total{where="journal"}': "0x40 1x20"}, set()),
    "KflowJournalFailed": ("kflow-ingest", {"kflow_journal_failed": "0x55 1x5"}, set()),
    "KflowDatabaseAway": ("kflow-ingest", {"kflow_db_connected": "1x40 0x20"}, set()),
    "KflowDatabaseBehind": ("kflow-ingest", {"kflow_db_lag_seconds": "31x60"}, set()),
    "KflowDatabaseGivenUp": ("kflow-ingest", {"kflow_db_failed": "0x55 1x5"}, set()),
    "KflowDiskLow": ("kflow-ingest", {"kflow_disk_free_bytes": "90x60"}, set()),
    "KflowDiskFull": ("kflow-ingest", {"kflow_disk_free_bytes": "500-1x60"}, set()),
    "KflowActorDown": ("kflow-actor", {"up": "0x60"}, set()),
    "KflowHalted": ("kflow-actor", HALTED | {"kflow_markets_halted": "3x60"}, set()),
    "KflowReducing": ("kflow-actor", REDUCING, set()),
    "KflowMarketsHalted": ("kflow-actor", {"kflow_markets_halted": "3x60"}, set()),
    "KflowActorStuck": (
        "kflow-actor",
        {'kflow_decisions_total{source="join"}': "0+60x50 3000x10", "kflow_decisions_waited_total": "9x60"},
        set(),
    ),
    "KflowActorDisconnected": ("kflow-actor", {"kflow_ws_connected": "0x60"}, set()),
    "KflowLeaseLost": ("kflow-actor", {"kflow_lease_held": "1x59 0"}, set()),
    "KflowOrderUnresolved": ("kflow-actor", {"kflow_order_unresolved_seconds": "0x59 6"}, set()),
    "KflowPositionMismatch": ("kflow-actor", {"kflow_position_mismatch": "0x59 1"}, set()),
    "KflowReconciliationLate": ("kflow-actor", {"kflow_reconciled_timestamp_seconds": "0+15x40 600x20"}, set()),
    "KflowPolicyFails": ("kflow-actor", {"kflow_obs_invalid_total": "0x40 1x20"}, set()),
    "KflowOrdersDenied": ("kflow-actor", {'kflow_order_denied_total{reason="throttle"}': "0+20x130"}, set()),
    "KflowOrdersRefused": ("kflow-actor", {'kflow_orders_total{outcome="refused"}': "0x40 1+1x20"}, set()),
    "KflowAcksSlow": ("kflow-actor", {'kflow_order_ack_seconds_bucket{le="0.1"}': "0+1x60"}, set()),
    "KflowActorRecords": ("kflow-actor", {"kflow_db_connected": "0x60"}, set()),
    "KflowRecordsLost": ("kflow-actor", {"kflow_decisions_unwritten_total": "0x40 1x20"}, set()),
    "KflowAlertsLost": ("kflow-actor", {'kflow_alerts_total{outcome="failed"}': "0x40 1x20"}, set()),
    "KflowRestarting": ("kflow-ingest", {"process_start_time_seconds": "1x40 2 3 4 5 5x16"}, set()),
    "KflowFilesShort": ("kflow-ingest", {"process_open_fds": "60000x60"}, set()),
    "KflowMemory": ("kflow-ingest", {"process_resident_memory_bytes": "1.6e9x60"}, set()),
}


def test_every_alert_is_tried() -> None:
    assert ILL.keys() == {rule["alert"] for rule in rules()}


def series(changed: dict[str, dict[str, str]]) -> list[dict[str, str]]:
    found = []
    for job, well in WELL.items():
        for name, values in (well | changed.get(job, {})).items():
            metric, _, labels = name.rstrip("}").partition("{")
            more = f",{labels}" if labels else ""
            found.append({"series": f'{metric}{{job="{job}",instance="a"{more}}}', "values": f"{values}"})
    return found


def firing(alerts: set[str]) -> dict[str, Any]:
    """promtool is asked for the very set of alerts that fire at the end."""
    samples = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(alerts)]
    return {"expr": 'count by (alertname) (ALERTS{alertstate="firing"})', "eval_time": "15m", "exp_samples": samples}


@pytest.mark.slow
def test_each_alert_fires_for_what_is_wrong_and_none_where_all_is_well(promtool: str, tmp_path: Path) -> None:
    cases = [{"name": "well", "interval": "15s", "input_series": series({}), "promql_expr_test": [firing(set())]}]
    for name, (job, wrong, also) in ILL.items():
        test = {"name": name, "interval": "15s", "input_series": series({job: wrong})}
        cases.append(test | {"promql_expr_test": [firing({name} | also)]})
    document = {"rule_files": [str(ALERTS)], "evaluation_interval": "15s", "tests": cases}
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(document))
    done = subprocess.run(
        [promtool, "test", "rules", str(tmp_path / "tests.yml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_prometheus_takes_the_configuration_and_every_query(promtool: str, tmp_path: Path) -> None:
    for name in ("prometheus.yml", "alerts.yml"):
        shutil.copy(OPS / "prometheus" / name, tmp_path)
    shown = [query for path in DASHBOARDS for query in queries(path)]
    # A dashboard's queries as recording rules: promtool parses them, with what Grafana puts in for its variables.
    as_rules = [
        {"record": f"panel:{number}", "expr": query.replace("$instance", ".*").replace("$__rate_interval", "1m")}
        for number, query in enumerate(shown)
    ]
    (tmp_path / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": as_rules}]}))
    for words in (["check", "config", "prometheus.yml"], ["check", "rules", "panels.yml"]):
        done = subprocess.run([promtool, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
