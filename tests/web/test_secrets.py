"""Nothing the service says holds a secret: canaries in every place a secret lives, and a crawl of all outputs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import websockets
from starlette.routing import Route

from kflow.settings import declared, load
from kflow.web.access import Access, load_token
from kflow.web.app import build_app

KEY_ID, PASSWORD = "canary-key-1f6c", "canary-password-77ab"


async def test_no_output_holds_a_secret(
    session: Any, serving: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("KALSHI_API_KEY_ID", KEY_ID)
    monkeypatch.setenv("DATABASE_URL", f"postgresql://kflow:{PASSWORD}@127.0.0.1:5432/kflow")
    monkeypatch.setenv("KFLOW_DATA_DIR", str(tmp_path))
    settings = load({}, file=None)
    token = load_token(tmp_path / "web-token")
    configuration = {item.key: item.public(settings.value(item.key)) for item in declared()}
    session.start()
    said = [repr(session.service(access=Access.for_host("127.0.0.1", token)))]
    caplog.set_level(logging.DEBUG)
    async with serving(access=Access.for_host("127.0.0.1", token), configuration=configuration) as http:
        paths = [r.path for r in build_app(session.service()).routes if isinstance(r, Route)]
        for path in [*paths, "/", "/config", "/.env", "/%2e%2e/web-token"]:
            for method in ("GET", "POST", "HEAD", "OPTIONS"):
                for authorization in (None, "Bearer wrong", f"Bearer {token}"):
                    headers = {"Authorization": authorization} if authorization else {}
                    answer = await http.request(method, path, headers=headers)
                    said.append(f"{answer.headers} {answer.text}")
        url = f"ws://{http.base_url.host}:{http.base_url.port}/rl/ws"
        headers = {"Authorization": f"Bearer {token}"}
        async with websockets.connect(url, proxy=None, additional_headers=headers) as client:
            said.extend([str(await client.recv()) for _ in range(3)])
    # The clients of this test log what they send; the service's side must not.
    said.extend(r.getMessage() for r in caplog.records if r.name.startswith(("kflow", "uvicorn", "starlette")))
    everything = "\n".join(said)
    assert f'"data.dir":"{tmp_path}"' in everything
    assert "***" in everything  # the settings were there, their secrets were not
    for secret in (KEY_ID, PASSWORD, token):
        assert secret not in everything
