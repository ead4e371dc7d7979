"""Choices between two episodes as a file: a judge writes it, or a person at the terminal.

    stepladder choose runs/rl --output runs/rl/choices.jsonl --by anna

Either goes on where the file ends, and asks about nothing twice.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from stepladder.compare.choices import Choice, Chosen, append_choice, read_choices, to_compare
from stepladder.compare.divergence import divergence
from stepladder.config import ConfigError
from stepladder.images import ImageStore
from stepladder.judges.better import better_of
from stepladder.judges.judge import Judge, JudgeSettings
from stepladder.progress import Progress
from stepladder.stages.judging import open_judge
from stepladder.stages.policies import ApiOptions, policy_name
from stepladder.stages.preference_pairs import episodes_of, stores_of
from stepladder.types import Trajectory

ANSWERS: dict[str, Chosen] = {"1": "first", "2": "second", "n": "neither"}


def judged_choices(
    path: Path, runs: Sequence[Path], judge: JudgeSettings, api: ApiOptions, per_start: int, seed: int, show: bool = True
) -> int:
    """Let the judge compare what `stepladder.compare.choices.to_compare` draws from the episodes of `runs`, and write its choices
    into the file `path`. Returns how many there are. Raises ConfigError, and what calls of servers raise; what was chosen by then
    stays."""
    assert judge.policy is not None
    left = _left(path, runs, per_start, seed)
    with open_judge(judge, _images(runs), api) as opened:
        assert opened is not None
        asyncio.run(_judge_all(opened, left, path, policy_name(judge.policy), show))
    return len(read_choices(path)) if path.exists() else 0


def choose(path: Path, runs: Sequence[Path], by: str, per_start: int = 4, seed: int = 0, ask: Callable[[str], str] = input) -> int:
    """Let a person at the terminal compare episodes until nothing is left or "q" is typed. Returns how many choices the file
    holds. Raises ConfigError for runs without episodes."""
    for run in runs:
        if not stores_of(run):
            raise ConfigError(f"runs: {run} holds no episodes; give a run's directory or a store (.jsonl)")
    console, left = Console(), _left(path, runs, per_start, seed)
    for number, (first, second) in enumerate(left, start=1):
        _show(console, first, second, f"{number} of {len(left)}")
        answer = ""
        while answer not in (*ANSWERS, "q"):
            answer = ask("better: 1, 2, n (neither) or q (quit)? ").strip().lower()
        if answer == "q":
            break
        append_choice(path, Choice(first.id, second.id, ANSWERS[answer], by))
    return len(read_choices(path)) if path.exists() else 0


def _left(path: Path, runs: Sequence[Path], per_start: int, seed: int) -> list[tuple[Trajectory, Trajectory]]:
    """What the file has no choice of yet."""
    known = {frozenset((one.first, one.second)) for one in read_choices(path)} if path.exists() else set()
    drawn = to_compare(episodes_of(runs), per_start, seed)
    return [pair for pair in drawn if frozenset((pair[0].id, pair[1].id)) not in known]


async def _judge_all(judge: Judge, left: Sequence[tuple[Trajectory, Trajectory]], path: Path, by: str, show: bool) -> None:
    try:
        with Progress("choose", len(left), show=show) as progress:
            for number, (first, second) in enumerate(left, start=1):
                append_choice(path, Choice(first.id, second.id, await better_of(judge, first, second), by))
                progress.update(number, len(left))
    finally:
        await judge.close()


def _show(console: Console, first: Trajectory, second: Trajectory, where: str) -> None:
    parted = divergence(first, second)
    at = 0 if parted is None or parted.decided is None else parted.decided
    console.print(f"\n[bold]{where}[/bold]  {escape(first.task.instruction)}", highlight=False)
    for name, one in (("1", first), ("2", second)):
        said = one.steps[at].completion
        text = "" if said is None else said.text.strip()
        console.print(f"  [bold]{name}[/bold]  step {at + 1} of {len(one.steps)}: {escape(text)}", highlight=False)
        console.print(f"     [dim]{escape(one.id)}, ended: {one.status}[/dim]", highlight=False)
    sys.stdout.flush()


def _images(runs: Sequence[Path]) -> ImageStore:
    """The pictures of the runs. Raises ConfigError where they lie in several directories: a judge is shown those of one."""
    folders = list(dict.fromkeys(run if run.is_dir() else run.parent for run in runs))
    if len(folders) > 1:
        raise ConfigError(f"runs: a judge compares the episodes of one directory, and not of {', '.join(map(str, folders))}")
    return ImageStore(folders[0] / "images", cache=0)
