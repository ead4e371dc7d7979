"""What a question is, and which questions are held out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from stepladder.drawing import Pixels
from stepladder.interfaces import EnvironmentFailure
from stepladder.seeds import HELDOUT
from stepladder.types import Region
from stepladder.words import share_of

#: One question in this many is held out.
HELD_OUT_SHARE = 8
ATTEMPTS = 1000


@dataclass(frozen=True)
class Problem:
    """A question. `form` tells how to answer, `check` what is right (`stepladder.verifiers`), `thought` leads to the right `answer`
    in short steps. `pixels` uint8[height, width, 3] is the screen that the question is about, `regions` what is where on it."""

    question: str
    form: str
    check: Mapping[str, Any]
    thought: str
    answer: str
    pixels: Pixels | None = field(default=None, compare=False)
    regions: tuple[Region, ...] = ()


#: From random numbers to a question; None where what was drawn makes none, and other numbers must be drawn.
Maker = Callable[[Random], Problem | None]


def held_out(question: str) -> bool:
    """Whether this question is for evaluation alone; decided by its text."""
    return share_of(f"question:{question}", HELD_OUT_SHARE)


def problem_of(kind: str, seed: int, make: Maker, *, split: bool = True) -> Problem:
    """The question that `seed` names. With `split`, seeds of training give no question that is held out, and held-out seeds no
    other, so that no question is both. Raises EnvironmentFailure when there is none."""
    for attempt in range(ATTEMPTS):
        problem = make(Random(f"reasoning {kind} {seed} {attempt}"))
        if problem is not None and (not split or held_out(problem.question) == (seed >= HELDOUT)):
            return problem
    raise EnvironmentFailure(f"reasoning: no question of the kind {kind!r} was found for the seed {seed}")
