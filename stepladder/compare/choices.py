"""Which of two episodes from the same start is better, as a person or a judge has said: a source of pairs beside the tasks'
checks.

A file of choices has one JSON object a line:

    {"first": "<episode's id>", "second": "<episode's id>", "chosen": "first" | "second" | "neither", "by": "who chose"}

What is preferred is then said at the step at which the two part, as `stepladder.compare.forks` does with a success and a failure.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Literal

from stepladder.codec import from_json, to_json
from stepladder.compare.divergence import divergence
from stepladder.compare.forks import Forks, PairKind, PreferencePair, consistent, pairs_against
from stepladder.errors import UserError
from stepladder.interfaces import Agent
from stepladder.types import Trajectory

Chosen = Literal["first", "second", "neither"]
CHOICES_FILE = "choices.jsonl"


@dataclass(frozen=True, slots=True)
class Choice:
    """One line of the file; `by` names who chose."""

    first: str
    second: str
    chosen: Chosen
    by: str = ""


def read_choices(path: Path) -> list[Choice]:
    """The choices of a file. Raises UserError, naming file and line, for what is none."""
    if not path.is_file():
        raise UserError(f"{path} does not exist; it holds one choice a line, as docs/prefer.md says")
    choices = []
    for number, line in enumerate(
        path.read_text(encoding="utf-8").split("\n"), start=1
    ):  # JSON lets other line ends stand in texts
        if not line.strip():
            continue
        try:
            choice = from_json(Choice, json.loads(line), "choice")
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise UserError(f"{path}, line {number} is no choice: {error}") from error
        if choice.first == choice.second:
            raise UserError(f"{path}, line {number} compares {choice.first!r} with itself")
        choices.append(choice)
    return choices


def append_choice(path: Path, choice: Choice) -> None:
    """Add one line to a file of choices."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(to_json(choice), ensure_ascii=False) + "\n")


def to_compare(trajectories: Iterable[Trajectory], per_start: int, seed: int = 0) -> list[tuple[Trajectory, Trajectory]]:
    """Pairs of episodes worth a choice: from one start, graded or not, that did different things in the same state; at most
    `per_start` of a start, drawn with `seed`. Which of the two comes first is drawn too, so that order tells nothing."""
    starts: dict[tuple[str, int], list[Trajectory]] = {}
    for one in trajectories:
        if not one.environment_failed:
            starts.setdefault((one.task.id, one.seed), []).append(one)
    found = []
    for start in sorted(starts):
        random = Random(f"compare {seed} {start}")
        members = sorted(starts[start], key=lambda one: one.id)
        candidates = list(combinations(members, 2))
        random.shuffle(candidates)
        taken = 0
        for first, second in candidates:
            parted = divergence(first, second)
            if taken == per_start or parted is None or parted.reason != "actions" or parted.decided is None:
                continue
            found.append((first, second) if random.random() < 0.5 else (second, first))
            taken += 1
    return found


def pairs_of_choices(
    choices: Iterable[Choice],
    trajectories: Iterable[Trajectory],
    agent: Agent,
    kinds: Sequence[PairKind] = ("correction", "reflection"),
) -> Forks:
    """The pairs of replies that follow from choices between episodes, each at the step at which the two part.

    Nothing follows from "neither". Raises UserError for an id that no episode has, and for two episodes of different starts.
    """
    known, found, pairs = {one.id: one for one in trajectories}, Forks(), list[PreferencePair]()
    for choice in choices:
        for identifier in (choice.first, choice.second):
            if identifier not in known:
                raise UserError(f"a choice names the episode {identifier!r}, which is in none of the stores")
        first, second = known[choice.first], known[choice.second]
        if (first.task.id, first.seed) != (second.task.id, second.seed):
            raise UserError(f"a choice compares {first.id!r} with {second.id!r}, which began at another start")
        if choice.chosen == "neither":
            found.left_out["neither was chosen"] += 1
            continue
        better, worse = (first, second) if choice.chosen == "first" else (second, first)
        pairs += pairs_against(worse, [better], agent, kinds, 1, found.left_out)
    found.pairs = consistent(pairs, found.left_out)
    return found
