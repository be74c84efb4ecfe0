"""What `kflow simulate` found, for eyes: a table, bars, notes, and charts in a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kflow.cli import charts, render


def show(whole: dict[str, Any], form: render.Format) -> None:
    if form is render.Format.JSON:
        render.record(whole, form=form)
        return
    if form is not render.Format.TABLE:
        items = [_numbers(result) for result in whole["results"]]
        render.rows("results", items, columns=tuple(items[0]), form=form)
        return
    items = [_line(result) for result in whole["results"]]
    columns = [name for name in items[0] if any(item[name] not in (None, "") for item in items)]
    render.rows("results", items, columns=columns, form=form)
    _draw_text([r for r in whole["results"] if r["day"] is None and r["grid_ms"] is None])
    _note_grid(whole)
    _note_assumptions(whole)


def _draw_text(results: Sequence[dict[str, Any]]) -> None:
    """The first model's chances by horizon and size, and its slippage by size."""
    own = [result for result in results if result["model"] == results[0]["model"]]
    for result in own:
        rows = [(f"{h['seconds']:g} s", h["full"], h["full_error"]) for h in result["horizons"]]
        render.text(f"\nfilled in full, {result['contracts']:g} contracts, {result['model']}")
        render.text("\n".join(charts.bars(rows)))
    slips = [(f"{r['contracts']:g}", r["slippage_cents"], r["slippage_error"]) for r in own]
    if any(round(cents or 0, 2) for _, cents, _ in slips):
        render.text(f"\nslippage against the touch by contracts, {own[0]['model']}")
        render.text("\n".join(charts.cent_bars(slips)))


def _numbers(result: dict[str, Any]) -> dict[str, Any]:
    """A result for programs, flat: horizons and markouts as columns, quantiles by their name."""
    flat: dict[str, Any] = {}
    for name, value in result.items():
        if name == "horizons":
            for horizon in value:
                at = f"{horizon['seconds']:g}s"
                flat |= {f"{key}_{at}": told for key, told in horizon.items() if key != "seconds"}
        elif name == "markouts":
            for mark in value:
                flat |= {f"markout_{key}_{mark['seconds']}s": told for key, told in mark.items() if key != "seconds"}
        elif isinstance(value, dict):
            flat |= {f"{name}_{key}": told for key, told in value.items()}
        else:
            flat[name] = value
    return flat


def _line(result: dict[str, Any]) -> dict[str, Any]:
    line: dict[str, Any] = {"contracts": result["contracts"], "model": result["model"]}
    line["grid"] = "" if result["grid_ms"] is None else f"{result['grid_ms']:g} ms"
    line["day"] = result["day"] or ""
    line["orders"] = result["orders"]
    for horizon in result["horizons"]:
        line[f"full_{horizon['seconds']:g}_s"] = _share(horizon["full"], horizon["full_error"])
    last = result["horizons"][-1]
    line["share"] = _share(last["share"], last["share_error"])
    line["ahead"] = result["ahead_contracts"]["p50"]
    line["to_full_s"] = result["time_to_full_fill_s"]["p50"]
    line["vwap_¢"] = _cents(result["vwap_cents"], None)
    line["slippage_¢"] = _cents(result["slippage_cents"], result["slippage_error"])
    line["fee_¢"] = _cents(result["fee_cents"], None)
    for mark in result["markouts"]:
        line[f"+{mark['seconds']}_s_¢"] = _cents(mark["cents"], mark["error"], sign=True)
    return line


def _share(share: float | None, error: float | None) -> str:
    if share is None:
        return "—"
    return f"{100 * share:.1f}" + (f" ±{100 * error:.1f}" if error is not None else "") + " %"


def _cents(value: float | None, error: float | None, *, sign: bool = False) -> str | None:
    if value is None:
        return None
    value = round(value, 2) + 0.0  # of what rounds to zero no sign is shown
    return f"{value:{'+' if sign else ''}.2f}" + (f" ±{error:.2f}" if error is not None else "")


def _note_grid(whole: dict[str, Any]) -> None:
    """How far the grid is from every event."""
    results = whole["results"]
    for exact in [r for r in results if r["grid_ms"] is None]:
        for coarse in [r for r in results if r["grid_ms"] is not None]:
            if all(exact[key] == coarse[key] for key in ("contracts", "model", "day")):
                pairs = zip(exact["horizons"], coarse["horizons"], strict=True)
                text = ", ".join(
                    f"{100 * (b['full'] - a['full']):+.2f} points at {a['seconds']:g} s"
                    for a, b in pairs
                    if a["full"] is not None and b["full"] is not None
                )
                order = f"{exact['contracts']:g} contracts, {exact['model']}"
                render.note(f"{order}: on the {coarse['grid_ms']:g} ms grid {text}")


def _note_assumptions(whole: dict[str, Any]) -> None:
    told, first = whole["assumptions"], whole["results"][0]
    seconds = sum(tape["seconds"] for tape in whole["tapes"])
    render.note(
        f"on {len(whole['tapes'])} markets, {render.duration(seconds)} of books; trades: {_some(told['trades'])}"
    )
    if any(trades == "none" for trades in told["trades"]):
        render.note("WARNING: where trades are not known every removal counts as withdrawn, and too little is filled")
    queue = told["models"].get("queue")
    if queue is not None:
        fit = "pro rata" if queue["calibration"] == "none" else f"calibration {queue['calibration']}"
        render.note(f"queue: {fit}, cancellations ahead {queue['cancellations_ahead']:g}, power {queue['power']:g}")
    for name, model in told["models"].items():
        if model["own"]:
            render.note(f"{name}: {model['about']}")
    render.note(
        f"latency {told['latency']}; fees {', '.join(told['fees'])}; "
        f"orders that cross below {told['walk_from_contracts']:g} contracts are filled at the touch only"
    )
    counts = ", ".join(f"{h['orders']:,} at {h['seconds']:g} s" for h in first["horizons"])
    told_errors = any(h["full_error"] is not None for h in first["horizons"])
    sure = f"± is one standard error over {first['blocks']} hours" if told_errors else "of too few hours for a ±"
    render.note(f"orders that count: {counts}; {sure}")
    render.note("the band is of where cancellations fall, and of nothing else")


def _some(texts: Sequence[str]) -> str:
    return ", ".join(texts[:3]) + (f" and {len(texts) - 3} more" if len(texts) > 3 else "")


def draw(whole: dict[str, Any], path: Path) -> None:
    """Fill probability by horizon and size; slippage by size."""
    results = [result for result in whole["results"] if result["day"] is None and result["grid_ms"] is None]
    models = list(dict.fromkeys(result["model"] for result in results))
    fills, slips = [], []
    for model in models:
        own = [result for result in results if result["model"] == model]
        points = [(r["contracts"], r["slippage_cents"], r["slippage_error"]) for r in own]
        slips.append(charts.Series(model, *zip(*points, strict=True)))
    for result in results:
        name = f"{result['contracts']:g}, {result['model']}"
        points = [(h["seconds"], h["full"], h["full_error"]) for h in result["horizons"]]
        fills.append(charts.Series(name, *zip(*points, strict=True)))
    panels = [
        charts.Panel("Filled in full", "seconds", "% of orders", fills, share=True),
        charts.Panel("Slippage against the touch", "contracts", "¢ a contract", slips),
    ]
    asked = f"{whole['price']}, {whole['side']}; {len(whole['tapes'])} markets"
    charts.draw(path, panels, f"{asked}; latency {whole['assumptions']['latency']}; ± 1 s.e.")
    render.note(f"drawn to {path}")
