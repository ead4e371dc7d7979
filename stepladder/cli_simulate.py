"""`stepladder simulate`: how fast a pipeline of environments, engines and a trainer would learn, from the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from stepladder.cli_options import Settings, ShowSettings, configured
from stepladder.config import to_dict
from stepladder.errors import UserError
from stepladder.planning.bounds import bounds_of
from stepladder.planning.figure import draw_scaling
from stepladder.planning.presets import PRESETS, preset
from stepladder.planning.settings import Mode, Pipeline
from stepladder.planning.simulation import Prediction, predict

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]})


@app.command()
def simulate(
    pipeline: Annotated[str, typer.Argument(help=f"Where to begin: {', '.join(PRESETS)}.")] = "osworld-8b",
    environments: Annotated[
        str | None, typer.Option(help="How many; several with commas. Else as the pipeline says.", show_default=False)
    ] = None,
    staleness: Annotated[
        str | None, typer.Option(help="Limits of the asynchronous loop, in updates; several with commas.", show_default=False)
    ] = None,
    mode: Annotated[str, typer.Option(help="synchronous, asynchronous or both.")] = "both",
    updates: Annotated[int, typer.Option(help="Updates that are measured.")] = 20,
    warm_up: Annotated[int, typer.Option(help="Updates before them.")] = 6,
    seeds: Annotated[int, typer.Option(help="Simulations of each pipeline, 2 or more.")] = 3,
    picture: Annotated[Path | None, typer.Option(help="Draw throughput and use into this file.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    set_: Settings = None,
    settings: ShowSettings = False,
) -> None:
    """Predict throughput, use of environments, engines and trainer, and staleness of rollouts, by simulating events."""
    base = configured(preset(pipeline), set_, settings)
    counts = _whole("--environments", environments, [base.loop.environments])
    limits = _whole("--staleness", staleness, [base.loop.staleness], least=0)
    if mode not in ("both", "synchronous", "asynchronous"):
        raise UserError(f"--mode is {mode!r}; it must be synchronous, asynchronous or both")
    curves: dict[str, dict[int, Prediction]] = {}
    for name, of_curve in _curves(base, mode, limits).items():
        for count in counts:
            one = replace(of_curve, loop=replace(of_curve.loop, environments=count))
            curves.setdefault(name, {})[count] = predict(one, updates, warm_up, seeds)
    if picture is not None:
        draw_scaling(curves, picture, f"{pipeline}: {base.engine.replicas} engines, {base.loop.groups} groups an update")
    if as_json:
        print(json.dumps(_json(base, curves), indent=2))
        return
    _print(curves)
    bounds = bounds_of(base)
    Console().print(
        f"Updates an hour, were it the only thing that takes time: {base.loop.environments:,} environments "
        f"{3600 * bounds.environments:.1f}, {base.engine.replicas} engines {3600 * bounds.engines:.1f}, "
        f"the trainer {3600 * bounds.trainer:.1f}.",
        highlight=False,
        soft_wrap=True,
    )


def _curves(base: Pipeline, mode: str, limits: list[int]) -> dict[str, Pipeline]:
    """Pipelines by name. Engines of a synchronous loop all get their weights at once: nobody writes meanwhile."""
    found = {}
    if mode != "asynchronous":
        synchronous: Mode = "synchronous"
        loop, engine = replace(base.loop, mode=synchronous), replace(base.engine, staggered=0)
        found["synchronous"] = replace(base, loop=loop, engine=engine)
    if mode != "synchronous":
        asynchronous: Mode = "asynchronous"
        for limit in limits:
            found[f"asynchronous, {limit}"] = replace(base, loop=replace(base.loop, mode=asynchronous, staleness=limit))
    return found


def _whole(option: str, text: str | None, default: list[int], least: int = 1) -> list[int]:
    if text is None:
        return default
    try:
        counts = [int(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise UserError(f"{option} is {text!r}; write whole numbers with commas, such as 250,500,1000") from error
    if not counts or min(counts) < least:
        raise UserError(f"{option} is {text!r}; write whole numbers of at least {least}, such as 250,500,1000")
    return list(dict.fromkeys(counts))


def _print(curves: dict[str, dict[int, Prediction]]) -> None:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in (
        "loop",
        "environments",
        "updates/h",
        "steps/s",
        "environments",
        "engines",
        "trainer",
        "old",
        "dropped",
        "held up by",
    ):
        table.add_column(column, justify="left" if column in ("loop", "held up by") else "right")
    for name, curve in curves.items():
        for count, found in curve.items():
            mean, low, high = found.figures["steps_per_second"]
            shares = [f"{100 * found[share]:.0f} %" for share in ("environment_use", "engine_use", "trainer_use")]
            cells = [f"{found['updates_per_hour']:.2f}", f"{mean:.2f} ±{(high - low) / 2:.2f}", *shares]
            table.add_row(
                name, f"{count:,}", *cells, f"{found['staleness']:.2f}", f"{100 * found['dropped']:.0f} %", found.bottleneck
            )
    Console().print(table)


def _json(base: Pipeline, curves: dict[str, dict[int, Prediction]]) -> dict[str, Any]:
    """Shares are those of 1, times are seconds; every figure is mean, low, high."""
    rows = [
        {"loop": name, "environments": count, **found.to_json()} for name, curve in curves.items() for count, found in curve.items()
    ]
    return {"pipeline": to_dict(base), "predictions": rows}
