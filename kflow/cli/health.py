"""`kflow health`: ask a running recorder how it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from kflow.cli import render
from kflow.cli.invocation import load_settings
from kflow.errors import DataError, UsageError, VenueError, VenueUnreachable

TIMEOUT_S = 5.0


def health(
    context: typer.Context,
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="Where the recorder listens, http://HOST:PORT.")
    ] = None,
    form: render.FormatOption = None,
    as_json: render.JsonOption = False,
) -> None:
    """Ask a running recorder how it is. Exit 0 healthy, 5 no answer, 6 unhealthy."""
    chosen = render.chosen(form, as_json)
    web = load_settings(context).web
    host = f"[{web.host}]" if ":" in web.host else web.host
    report = asked(url or f"http://{host}:{web.port}")
    if chosen is render.Format.TABLE:
        render.rows("components", components(report), columns=("component", "status", "detail"), form=chosen)
    else:
        render.record(report, form=chosen)
    if report.get("status") != "healthy":
        problems = report.get("problems")
        why = "; ".join(map(str, problems)) if isinstance(problems, list) else ""
        raise DataError(
            f"the recorder says it is {report.get('status')}" + (f": {render.cell(why)}" if why else ""),
            hint="kflow watch shows what it is doing",
        )


def asked(url: str) -> Mapping[str, Any]:
    """What /rl/health answers. Raises VenueUnreachable where nothing does, VenueError where it is not a recorder."""
    import http.client
    import json
    from urllib.parse import urlsplit

    place = urlsplit(url)
    try:
        host, port = place.hostname, place.port
    except ValueError:
        host = None
    if place.scheme != "http" or not host:
        raise UsageError(f"{url} is not of the form http://HOST:PORT", hint="--url http://127.0.0.1:8001")
    connection = http.client.HTTPConnection(host, port or 80, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/rl/health", headers={"Accept": "application/json"})
        answer = connection.getresponse()
        text = answer.read(1 << 20)
    except (OSError, http.client.HTTPException) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise VenueUnreachable(f"no recorder answers at {url}: {why}", hint="is kflow ingest running?") from None
    finally:
        connection.close()
    try:
        report = json.loads(text)
    except ValueError:
        report = None
    if not isinstance(report, dict) or "status" not in report:
        raise VenueError(f"{url} answers, but not as a recorder of kflow (HTTP {answer.status})", hint="check --url")
    return report


def components(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The report as lines: the whole first, then each part with everything it says."""
    lines = [{"component": report.get("service", "kflow"), "status": report["status"], "detail": None}]
    parts = report.get("components")
    for name, part in parts.items() if isinstance(parts, dict) else ():
        known = part if isinstance(part, dict) else {"status": part}
        detail = ", ".join(f"{key} {render.cell(value)}" for key, value in known.items() if key != "status")
        lines.append({"component": name, "status": known.get("status"), "detail": detail or None})
    return lines
