"""`stepladder reason`: demonstrations get thoughts before their actions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from stepladder.cli_options import Output, Settings, ShowSettings, configured
from stepladder.stages import reason as reason_stage
from stepladder.stages.reason_config import ReasonConfig

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]})


@app.command()
def reason(
    demonstrations: Annotated[Path | None, typer.Argument(help="A directory of `stepladder collect`.", show_default=False)] = None,
    by: Annotated[str | None, typer.Option(help="oracle, teacher or reflection: who writes.", show_default=False)] = None,
    level: Annotated[str | None, typer.Option(help="thought, or observation: that and a thought.", show_default=False)] = None,
    policy: Annotated[
        str | None, typer.Option(help="The teacher: a checkpoint, openai:URL[#MODEL], ... as of `eval`.", show_default=False)
    ] = None,
    rollouts: Annotated[
        list[Path] | None,
        typer.Option(help="With --by reflection: a run, or a store (.jsonl), with failures. May be repeated.", show_default=False),
    ] = None,
    output: Output = None,
    set_: Settings = None,
    settings: ShowSettings = False,
) -> None:
    """Write thoughts before the actions of demonstrations, or recoveries from own failures, for `stepladder sft`."""
    start = ReasonConfig()
    if policy is not None:
        start = replace(start, teacher=replace(start.teacher, policy=policy))
    given = {"demonstrations": demonstrations, "by": by, "level": level, "output": output}
    config = configured(start, set_, settings, **given, rollouts=tuple(rollouts) if rollouts else None)
    found = reason_stage.main(config)
    _say(f"{found.thoughts} thoughts in {found.episodes} episodes; {found.taken_over} episodes taken over")
    for why, count in sorted(found.left_out.items()):
        _say(f"  left out: {count} x {why}")
    _say(f"demonstrations: {config.output}")


def _say(text: str) -> None:
    Console().print(escape(text), soft_wrap=True, highlight=False)
