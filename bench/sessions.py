"""Record sessions of made-up markets with `kflow ingest`, one private exchange after another, to be trained on.

    python bench/sessions.py --keep FOLDER [--sessions 40] [--seconds 85] [--markets 8] [--rate 500]

From eight markets on, one closes and is settled before its session ends, so that episodes run up to a result.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sysconfig
from pathlib import Path

KFLOW = Path(sysconfig.get_path("scripts")) / "kflow"
# From a market's close to the end of its session: it is settled in between.
AFTER_CLOSE_S = 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--sessions", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=85.0)
    parser.add_argument("--markets", type=int, default=8)
    parser.add_argument("--rate", type=int, default=500, help="messages a second of all markets together")
    chosen = parser.parse_args()
    for number in range(1, chosen.sessions + 1):
        print(json.dumps(record(chosen, number)), flush=True)


def record(chosen: argparse.Namespace, number: int) -> dict[str, object]:
    """One session on an exchange of its own, with its own seed."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("KFLOW_", "RL_", "KALSHI_"))}
    environ["KFLOW_DATA_DIR"] = str(chosen.keep.absolute())
    serve = [KFLOW, "exchange", "serve", "--synthetic", "busy", "--seed", str(number), "--markets", str(chosen.markets)]
    serve += ["--rate", str(chosen.rate), "--lifetime", str(chosen.seconds - AFTER_CLOSE_S)]
    exchange = subprocess.Popen(serve, stdout=subprocess.PIPE, env=environ, text=True)
    try:
        assert exchange.stdout is not None
        ready = json.loads(exchange.stdout.readline())
        environ["KALSHI_API_KEY_ID"], environ["KALSHI_PRIVATE_KEY_PATH"] = ready["key_id"], ready["private_key_path"]
        url = ready["rest"].removesuffix("/trade-api/v2")
        ingest = [KFLOW, "ingest", "--all", "--exchange", url, "--duration", f"{chosen.seconds:g}"]
        done = subprocess.run(
            [*ingest, "--port", "0", "--json"], env=environ, stdout=subprocess.PIPE, text=True, check=True
        )
        return dict(json.loads(done.stdout))
    finally:
        exchange.terminate()
        exchange.wait()


if __name__ == "__main__":
    main()
