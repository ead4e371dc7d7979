"""`stepladder bench agentnet`, `screenspot` and `perception`: offline benchmarks from the command line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from stepladder.cli_options import Output, Settings
from stepladder.config import override
from stepladder.stages import benchmark as stage
from stepladder.stages import perception as perception_stage

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
Folder = Annotated[Path, typer.Argument(help="The benchmark's files: JSON beside images/.")]
Policy = Annotated[
    str | None,
    typer.Option(help="gold for the recorded answers, a checkpoint, or any policy of `stepladder eval`.", show_default=False),
]
Agent = Annotated[
    str | None,
    typer.Option(help="The dialect; default: the policy's own. Options: --set agent.NAME=VALUE.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON, without its details.")]


@app.command()
def agentnet(
    folder: Folder,
    policy: Policy = None,
    agent: Agent = None,
    output: Output = None,
    compat: Annotated[bool, typer.Option("--compat", help="Score as the published evaluator does, oddities included.")] = False,
    as_json: AsJson = False,
    set_: Settings = None,
) -> None:
    """AgentNetBench: the next action of recorded trajectories, step by step."""
    result = _run("agentnet", folder, policy, agent, output, set_, as_json, compat=compat)
    if not as_json:
        rows = {kind: (f"{one['score']:.3f}", str(one["n"])) for kind, one in result["action_type_scores"].items()}
        _table(("action", "score", "n"), rows)
        _say(
            f"average score {_figure(result['average_score'])} ({result['low']:.3f} to {result['high']:.3f}, by trajectories), "
            f"{result['total_steps']} steps of {result['total_trajectories']} trajectories, {result['parse_errors']} unreadable, "
            f"{result['alternative_matches']} by an alternative, {result['missing']} missing"
        )


@app.command()
def screenspot(
    folder: Folder,
    policy: Policy = None,
    agent: Agent = None,
    output: Output = None,
    as_json: AsJson = False,
    set_: Settings = None,
) -> None:
    """ScreenSpot (1, 2 and Pro): where to click for an instruction."""
    result = _run("screenspot", folder, policy, agent, output, set_, as_json)
    if not as_json:
        for name, groups in result["tables"].items():
            rows = {
                group: (_figure(one["accuracy"]), f"{one['low']:.3f} to {one['high']:.3f}", str(one["n"]))
                for group, one in groups.items()
            }
            _table((name, "accuracy", "95 %", "n"), rows)
        _say(
            f"accuracy {_figure(result['accuracy'])} ({result['low']:.3f} to {result['high']:.3f}, n = {result['n']}), "
            f"{result['wrong_format']} unreadable, {result['missing']} missing"
        )


@app.command()
def perception(
    policy: Policy = None,
    agent: Agent = None,
    output: Output = None,
    pages: Annotated[Path | None, typer.Option(help="Pages: a directory of `stepladder collect`.", show_default=False)] = None,
    desktops: Annotated[Path | None, typer.Option(help="Desktops, likewise.", show_default=False)] = None,
    as_json: AsJson = False,
    set_: Settings = None,
) -> None:
    """Questions about screens: where, what, in which state, what changed; on synthetic screens, stored pages and desktops."""
    given = {"policy": policy, "dialect": agent, "output": output, "pages": pages, "desktops": desktops}
    config = perception_stage.PerceptionConfig(**{key: value for key, value in given.items() if value is not None})  # type: ignore[arg-type]
    config = override(config, set_ or [])
    result = perception_stage.main(config, show=not as_json)
    if as_json:
        print(json.dumps(result, indent=2))
        return
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("question", "screens", "measure", "score", "95 %", "n"):
        table.add_column(column)
    for one in result["scores"]:
        low_high = f"{one['low']:.3f} to {one['high']:.3f}"
        table.add_row(one["kind"], one["source"], one["measure"].replace("_", " "), _figure(one["value"]), low_high, str(one["n"]))
    Console().print(table)
    _say(f"{result['questions']} questions, {result['unreadable']} answers unreadable; report: {config.output / 'report.html'}")


def _run(
    name: str,
    folder: Path,
    policy: str | None,
    agent: str | None,
    output: Path | None,
    set_: list[str] | None,
    as_json: bool,
    **options: Any,
) -> dict[str, Any]:
    given = {"policy": policy, "dialect": agent, "output": output or Path("runs") / name, "folder": folder, **options}
    config = stage.BenchmarkConfig(benchmark=name, **{key: value for key, value in given.items() if value is not None})
    result = stage.main(override(config, set_ or []), show=not as_json)
    if as_json:
        print(json.dumps({key: value for key, value in result.items() if key != "details"}, indent=2))
    return result


def _table(columns: tuple[str, ...], rows: Mapping[str, tuple[str, ...]]) -> None:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in columns:
        table.add_column(column)
    for name, cells in rows.items():
        table.add_row(name, *cells)
    Console().print(table)


def _figure(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def _say(text: str) -> None:
    Console().print(text, highlight=False)
