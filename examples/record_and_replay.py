"""The main job from end to end, through the same commands a person would type: record, verify, simulate, export.

    python examples/record_and_replay.py [--seconds 20] [--keep FOLDER]

It needs no key, no network and no database: `kflow ingest` starts a private local exchange and an embedded PostgreSQL.
Everything goes to a temporary folder, or to the one named with --keep.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Any

KFLOW = Path(sysconfig.get_path("scripts")) / "kflow"
MARKET = "INXD-25JAN03"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long to record")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="record into this folder and leave it there")
    chosen = parser.parse_args()
    assert isinstance(sys.stdout, io.TextIOWrapper)
    sys.stdout.reconfigure(line_buffering=True)  # keeps our lines in order with what the commands say on stderr
    started = time.monotonic()
    if chosen.keep:
        demonstrate(chosen.keep.absolute(), chosen.seconds)
        print(f"\nKept in {chosen.keep}: KFLOW_DATA_DIR={chosen.keep} kflow sessions ls")
    else:
        with tempfile.TemporaryDirectory(prefix="kflow-demo-") as folder:
            demonstrate(Path(folder), chosen.seconds)
    print(f"\nDone in {time.monotonic() - started:.0f} s. Each step above is a command of its own: kflow --help")
    return 0


def demonstrate(folder: Path, seconds: float) -> None:
    """Record one event, and prove that what the tables hold is what came over the socket."""
    print(f"Recording event {MARKET} from a private local exchange for {seconds:.0f} s.")
    result = json.loads(
        kflow(folder, "ingest", "--market", MARKET, "--duration", f"{seconds:g}", "--port", "0", "--json")
    )
    session = str(result["session"])
    print(f"   {result['messages']} messages of {result['markets']} markets, {result['gaps']} gaps")

    print("\nWhat the database holds, counted from its rows:")
    print(indented(kflow(folder, "sessions", "ls")))

    print("\nRebuilding every book twice, from the tables and from the journal of raw frames:")
    verdict: dict[str, Any] = json.loads(kflow(folder, "replay", "verify", "--session", session, "--json"))
    print(f"   journal {verdict['digest_journal']}\n   tables  {verdict['digest_tables']}")
    print(f"   {verdict['messages']} messages, {verdict['gaps']} gaps, {verdict['crossed']} crossed books")
    print(f"   equal: {verdict['equal']}")

    print("\nWhat would orders of 10 that join the best bid have got? (The first time, it compiles for a minute.)")
    print(indented(kflow(folder, "simulate", "--sessions", session, "--order-size", "10", "--horizon", "5")))

    print("\nExporting the session:")
    kflow(folder, "replay", "export", "--sessions", session, "--format", "csv", "--out", str(folder / "export"))
    for path in sorted((folder / "export").rglob("*.csv")):
        print(f"   {path.relative_to(folder)}  {path.stat().st_size:,} bytes")


def kflow(folder: Path, *arguments: str) -> str:
    """Run one command, shown as it would be typed; its stdout. Ends the demonstration where the command fails."""
    print(f"$ {shlex.join(['kflow', *arguments]).replace(str(folder), '.')}")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("KFLOW_", "RL_", "KALSHI_"))}
    environ.pop("DATABASE_URL", None)
    done = subprocess.run(
        [KFLOW, *arguments],
        env={**environ, "KFLOW_DATA_DIR": str(folder)},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"that command ended with {done.returncode}: see docs/exit-codes.md")
    return done.stdout


def indented(text: str) -> str:
    return "\n".join(f"   {line}" for line in text.rstrip().splitlines())


if __name__ == "__main__":
    sys.exit(main())
