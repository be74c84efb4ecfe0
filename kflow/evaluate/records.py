"""Rows of an evaluation: itself, the models that it judged, and the episodes under the calibrated queue."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from psycopg.types.json import Jsonb

from kflow.evaluate.judge import Verdicts
from kflow.evaluate.outcome import Market, Played
from kflow.rl import stepping
from kflow.store.postgres import Connection
from kflow.store.sqlfiles import queries
from kflow.units import CONTRACT


def store(
    conn: Connection,
    whole: Mapping[str, Any],
    verdicts: Verdicts,
    markets: Sequence[Market],
    models: Mapping[str, int],
    folder: Path,
    *,
    now_ns: int,
) -> int:
    """All of it in one transaction; the evaluation's number. `models`: rl_models.id of contestants by name."""
    sql = queries("evaluations")
    with conn.transaction(), conn.cursor() as cursor:
        cursor.execute(
            sql["create"],
            {
                "created_ns": now_ns,
                "name": whole["name"],
                "folder": str(folder.absolute()),
                "in_sample": whole["in_sample"],
                "events": whole["data"]["events"],
                "sentence": whole["sentence"],
                "document": Jsonb(whole, dumps=lambda document: json.dumps(document, allow_nan=False)),
            },
        )
        found = cursor.fetchone()
        assert found is not None
        number = int(str(found[0]))
        for model_id in sorted(set(models.values())):
            cursor.execute(sql["judged"], {"evaluation_id": number, "model_id": model_id})
        sessions = _sessions(conn)
        for name, played in verdicts.sample.items():
            for one in played:
                cursor.executemany(sql["episode"], list(_episodes(one, markets, number, models.get(name), sessions)))
    return number


def _sessions(conn: Connection) -> set[int]:
    """Those that this database knows: a tape may be from another one."""
    return {int(str(row[0])) for row in conn.execute(queries("evaluations")["recorded"])}


def _episodes(
    played: Played, markets: Sequence[Market], number: int, model_id: int | None, sessions: set[int]
) -> Iterator[dict[str, Any]]:
    table = np.stack(played.episodes, axis=1).tolist()
    for place, values in enumerate(table):
        row = dict(zip(played.episodes._fields, values, strict=True))
        market = markets[row["market"]]
        yield {
            "evaluation_id": number,
            "model_id": model_id,
            "episode_number": place + 1,
            "session_id": market.session if market.session in sessions else None,
            "market_ticker": market.market,
            "started_ns": row["start_us"] * 1000,
            "ended_ns": row["end_us"] * 1000,
            "steps": row["steps"],
            "initial_cash_e6": row["cash"],
            "final_equity_e6": row["equity"],
            "fees_e6": row["fees"],
            "total_return": (row["equity"] - row["cash"]) / row["cash"],
            "max_drawdown": row["fall"] / row["cash"],
            "metrics": Jsonb(
                {
                    "contestant": played.contestant,
                    "fill_model": played.fill_model,
                    "seed": played.seed,
                    "ending": stepping.ENDINGS[row["ending"]],
                    "contracts": row["volume"] / CONTRACT,
                    "sent": row["sent"],
                    "denied": row["denied"],
                }
            ),
        }
