"""What the command line says of training, as a plan; and the tapes that a plan names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import typer

from kflow.cli import render
from kflow.cli.tapes import load_tapes

if TYPE_CHECKING:
    from kflow.rl.plan import Plan, Source
    from kflow.sim.tape import Tape


# What may be changed of a plan that --plan gives, and the field that it is; hyper-parameters and tapes may be, too.
_CHANGEABLE: Final = {
    "steps": "steps",
    "envs": "envs",
    "seed": "seed",
    "device": "device",
    "holdout": "held_share",
    "save_every": "save_every",
    "eval_every": "evaluate_every",
    "eval_episodes": "evaluate_episodes",
    "patience": "patience",
}
_TAPES: Final = ("sessions", "paths", "market", "source", "world", "markets", "eval_sessions")
_OPTIONS: Final = {"algorithm": "--algo", "shaping": "--shape", "scale": "--reward-scale"}


def plan_of(context: typer.Context, typed: Mapping[str, Any]) -> Plan:
    """Of the options in `kflow.cli.planned`, by name. Raises UsageError for what cannot be."""
    if typed["plan"] is None:
        plan = _new(typed)
    else:
        plan = _changed(typed, [name for name in origins(context) if name in typed and name != "plan"])
    plan.check()
    plan.setup()
    return plan


def _changed(typed: Mapping[str, Any], given: Sequence[str]) -> Plan:
    """The plan of a file with what is given beside it."""
    import msgspec

    from kflow.errors import UsageError
    from kflow.rl import runs
    from kflow.rl.presets import changed

    fixed = [name for name in given if name not in (*_CHANGEABLE, *_TAPES, "changes")]
    if fixed:
        option = _OPTIONS.get(fixed[0], "--" + fixed[0].replace("_", "-"))
        raise UsageError(
            f"{option} is a part of the plan in {typed['plan']}",
            hint="leave it out; --set, --steps, --seed, and where tapes come from can be changed",
        )
    plan = runs.read_plan(typed["plan"])
    fields: dict[str, Any] = {_CHANGEABLE[name]: typed[name] for name in given if name in _CHANGEABLE}
    fields["hyper"] = changed(plan.hyper, _pairs(typed["changes"], "--set"))
    if any(name in given for name in _TAPES):
        if not any(_origins_of(typed).values()):
            raise UsageError("the plan's tapes are replaced as a whole", hint="give --sessions, --from or --world too")
        fields["source"], fields["held_out"] = _sources(typed)
    return msgspec.structs.replace(plan, **fields)


def _new(typed: Mapping[str, Any]) -> Plan:
    from kflow.rl.given import microseconds
    from kflow.rl.plan import Plan
    from kflow.rl.presets import hyper_of, preset_named
    from kflow.sim.assume import choose, read_calibration
    from kflow.units import CONTRACT

    algorithm, preset = typed["algorithm"], typed["preset"]
    chosen = preset_named(algorithm, preset)
    calibration = None if typed["calibration"] is None else read_calibration(typed["calibration"])
    picked = choose(typed["model"], typed["latency"], calibration)
    sizes = tuple(round(size * CONTRACT) for size in _numbers(typed["sizes"], "--sizes"))
    source, held_out = _sources(typed)
    return Plan(
        algorithm=algorithm,
        preset=preset,
        hyper=hyper_of(algorithm, preset, _pairs(typed["changes"], "--set")),
        envs=chosen.envs if typed["envs"] is None else typed["envs"],
        steps=typed["steps"],
        seed=typed["seed"],
        device=typed["device"],
        source=source,
        held_out=held_out,
        held_share=typed["holdout"],
        actions=typed["actions"],
        sizes=sizes,
        cash=round(typed["cash"] * 1e6),
        max_position=round(typed["max_position"] * CONTRACT),
        max_order=max(sizes),
        orders=typed["max_open"],
        ruin=typed["ruin"],
        scale=typed["scale"],
        shaping={name: _number(text, "--shape") for name, text in _pairs(typed["shaping"], "--shape").items()},
        every_us=microseconds(typed["every"]),
        episode_us=microseconds(typed["episode"]),
        fills=picked.model,
        latency=picked.latency,
        calibration=picked.calibration,
        curriculum=typed["curriculum"],
        stages=typed["stages"],
        save_every=typed["save_every"],
        evaluate_every=typed["eval_every"],
        evaluate_episodes=typed["eval_episodes"],
        patience=typed["patience"],
    )


def _sources(typed: Mapping[str, Any]) -> tuple[Source, Source | None]:
    """What is trained on, and what is held out by name."""
    import msgspec

    from kflow.errors import UsageError
    from kflow.rl.plan import Source
    from kflow.rl.worlds import world_named

    named = [name for name, given in _origins_of(typed).items() if given]
    if len(named) > 1:
        raise UsageError(f"{named[0]} and {named[1]} name two sources", hint="give one of them")
    markets = tuple(typed["market"] or ())
    if typed["world"] is not None:
        world_named(typed["world"])
        if typed["markets"] < 1:
            raise UsageError(f"{typed['markets']} markets are none to train on", hint="--markets 40")
        if typed["eval_sessions"]:
            raise UsageError("--eval-sessions are no part of a made-up world", hint="--holdout 0.2")
        return Source(world=typed["world"], count=typed["markets"], seed=typed["seed"]), None
    files = tuple(str(path) for path in typed["paths"] or ())
    source = Source(sessions=typed["sessions"], files=files, markets=markets, read=typed["source"])
    held = typed["eval_sessions"]
    return source, None if held is None else msgspec.structs.replace(source, sessions=held, files=())


def _origins_of(typed: Mapping[str, Any]) -> dict[str, Any]:
    return {"--sessions": typed["sessions"], "--from": typed["paths"], "--world": typed["world"]}


def tapes_of(context: typer.Context, plan: Plan) -> tuple[Sequence[Tape], Sequence[Tape] | None]:
    """What a plan trains on, and what it holds out by name. Raises what reading raises."""
    from kflow.rl.compiled import cold

    if cold():
        render.note("the first run on this machine compiles for about a minute")
    tapes = read(context, plan.source)
    return tapes, None if plan.held_out is None else read(context, plan.held_out)


def read(context: typer.Context, source: Source) -> Sequence[Tape]:
    """Tapes of one source. Raises what reading raises."""
    from pathlib import Path

    from kflow.rl.worlds import make_tapes

    if source.world is not None:
        return make_tapes(source.world, source.count, seed=source.seed)
    paths = [Path(file) for file in source.files]
    return load_tapes(context, source.sessions, paths, list(source.markets) or None, source=source.read)


def origins(context: typer.Context) -> dict[str, str]:
    """Options that were not left as they are by default, and where they were given."""
    found = {}
    for name in context.params:
        where = context.get_parameter_source(name)
        if where is not None and not where.name.startswith("DEFAULT"):
            found[name] = where.name.lower()
    return found


def _pairs(texts: Sequence[str] | None, option: str) -> dict[str, str]:
    from kflow.errors import UsageError

    found = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise UsageError(f"{text!r} is no NAME=VALUE", hint=f"for example {option} learning_rate=0.0003")
        found[name.strip()] = value.strip()
    return found


def _number(text: str, option: str) -> float:
    from kflow.errors import UsageError

    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{text!r} is no number", hint=f"{option} inventory=0.01") from None


def _numbers(text: str, option: str) -> list[float]:
    return [_number(part, option) for part in text.split(",")]
