"""Options of the command line that several commands share, or that would make one of them hard to read."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from stepladder.config import field_names, override
from stepladder.errors import UserError

T = TypeVar("T")

Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="Change a setting, such as environments=4. May be repeated.", show_default=False
    ),
]
ShowSettings = Annotated[bool, typer.Option("--settings", help="List the settings with their values and stop.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Directory of the run.", show_default=False)]
Tasks = Annotated[
    str | None,
    typer.Option(
        "--tasks",
        "-t",
        help="miniwob, miniwob@demo, miniwob:click-test,click-tab, forms, desk, page:FILE.jsonl",
        show_default=False,
    ),
]

# ------------------------------------------------------------------------------------------------------------- of `eval`

PositionalPolicy = Annotated[str | None, typer.Argument(metavar="[POLICY]", help="The same as --policy.", show_default=False)]
Policy = Annotated[
    str | None,
    typer.Option(
        help="A checkpoint directory (or local:DIRECTORY), openai:URL[#MODEL], anthropic:MODEL, openai-responses:MODEL, random, "
        "idle, give_up, oracle, or package.module:Class.",
        show_default=False,
    ),
]
Env = Annotated[
    str | None,
    typer.Option("--env", help="The same as --tasks, or the URL of a server that lends environments.", show_default=False),
]
Agent = Annotated[
    str | None,
    typer.Option(
        help="The dialect, such as qwen_vl, or package.module:Class; else the policy's own. Its options: --set agent.NAME=VALUE.",
        show_default=False,
    ),
]
Episodes = Annotated[int | None, typer.Option(help="Held-out seeds of each task.", show_default=False)]
Trials = Annotated[int | None, typer.Option(help="Episodes of each seed.", show_default=False)]
MaxSteps = Annotated[int | None, typer.Option(help="Steps of an episode; else as its task says.", show_default=False)]
History = Annotated[int | None, typer.Option(help="Screenshots in a prompt, the current one included.", show_default=False)]
Observe = Annotated[
    str | None,
    typer.Option(
        "--observe",
        help="What the agent is shown: screenshot, screenshot_a11y_tree, som (marks on the screenshot), or a11y_tree.",
        show_default=False,
    ),
]
OSWorldResults = Annotated[
    Path | None, typer.Option(help="Write every episode into this directory as OSWorld does, too.", show_default=False)
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Fail if the output holds no run to go on with. One that is there is gone on with anyway.")
]


def either(first: str | None, second: str | None, *names: str) -> str | None:
    """The one that is given. Raises UserError when both are."""
    if first is not None and second is not None:
        raise UserError(f"{names[0]} and {names[1]} say the same thing; give one of them")
    return first if first is not None else second


def configured(config: T, assignments: list[str] | None, list_only: bool, **given: Any) -> T:
    """`config` with the options that were given and then every --set. With `list_only` the settings are printed instead."""
    config = dataclasses.replace(config, **{name: value for name, value in given.items() if value is not None})  # type: ignore[type-var]
    config = override(config, assignments or [])
    if list_only:
        for name in field_names(config):
            value: Any = config
            for part in name.split("."):
                value = getattr(value, part)
            print(f"{name}={value}")
        raise typer.Exit
    return config
