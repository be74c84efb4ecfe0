"""What a client reads of settled markets: `settlements_session.py CLIENT REST WS KEY_ID KEY_FILE` prints it as JSON.

By market: the result, contracts of YES and of NO held, what they cost together, what was paid out. Run by the
interpreter that has the client. `test_settlements.py` judges.
"""

from __future__ import annotations

import asyncio
import json
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

Row = list[str]


def row(result: str, *amounts: Any) -> Row:
    return [result.lower(), *(f"{Decimal(str(amount)):.2f}" for amount in amounts)]


async def with_ccxt(rest: str, ws: str, key_id: str, private_key: str) -> dict[str, Row]:
    from ccxt.prediction import kalshi

    exchange = kalshi({"apiKey": key_id, "privateKey": private_key, "enableRateLimit": False})
    exchange.urls["api"] = {"kalshi": rest, "elections": rest}
    try:
        settlements = await exchange.fetch_settlements()
    finally:
        await exchange.close()
    rows = {}
    for one in settlements:
        held = [one["amount"], 0] if Decimal(one["info"]["yes_count_fp"]) else [0, one["amount"]]
        rows[one["id"]] = row(one["result"], *held, one["cost"], one["payout"])
    return rows


async def with_pykalshi_client(rest: str, ws: str, key_id: str, private_key: str) -> dict[str, Row]:
    from pykalshi.auth import KalshiCredentials
    from pykalshi.config import ClientConfig
    from pykalshi.http_client import KalshiHttpClient

    credentials = KalshiCredentials.from_pem_string(key_id, private_key)
    async with KalshiHttpClient(credentials, ClientConfig(http_base_url=rest.removesuffix("/trade-api/v2"))) as http:
        return _rows((await http.get_settlements()).settlements)


async def with_kalshi_python_sync(rest: str, ws: str, key_id: str, private_key: str) -> dict[str, Row]:
    from kalshi_python_sync import Configuration, KalshiClient

    configuration = Configuration(host=rest)
    configuration.api_key_id, configuration.private_key_pem = key_id, private_key
    return _rows(KalshiClient(configuration).get_settlements().settlements)


def _rows(settlements: list[Any]) -> dict[str, Row]:
    return {
        one.ticker: row(
            one.market_result, one.yes_count_fp, one.no_count_fp,
            Decimal(one.yes_total_cost_dollars) + Decimal(one.no_total_cost_dollars), Decimal(one.revenue) / 100,
        )
        for one in settlements
    }  # fmt: skip


async def with_kalshi_sdk(rest: str, ws: str, key_id: str, private_key: str) -> dict[str, Row]:
    from kalshi import AsyncKalshiClient, KalshiAuth, KalshiConfig

    config, auth = KalshiConfig(base_url=rest, ws_base_url=ws), KalshiAuth.from_pem(key_id, private_key)
    async with AsyncKalshiClient(auth=auth, config=config) as client:
        settled = [one async for one in client.portfolio.settlements_all()]
    return {
        one.ticker: row(
            one.market_result, one.yes_count, one.no_count, one.yes_total_cost + one.no_total_cost,
            Decimal(one.revenue) / 100,
        )
        for one in settled
    }  # fmt: skip


WITH = {
    "ccxt": with_ccxt,
    "pykalshi-client": with_pykalshi_client,
    "kalshi-python-sync": with_kalshi_python_sync,
    "kalshi-sdk": with_kalshi_sdk,
}

if __name__ == "__main__":
    name, *where, key_file = sys.argv[1:]
    print(json.dumps({"settlements": asyncio.run(WITH[name](*where, Path(key_file).read_text()))}))
