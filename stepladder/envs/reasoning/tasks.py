"""The kinds of questions by name, and named sets of them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from functools import partial
from random import Random
from typing import NamedTuple

from stepladder.envs.reasoning import arithmetic, programs, screens
from stepladder.envs.reasoning.problem import Maker
from stepladder.types import Task

PREFIX = "reasoning-"


class Kind(NamedTuple):
    """What makes the questions of a kind, and its tags, the domain first. Of a kind that looks at a screen, `ask` is what
    `stepladder.envs.reasoning.screens.maker` takes."""

    tags: tuple[str, ...]
    make: Maker | None = None
    ask: Callable[[Random], screens.Shown] | None = None


def _sum(kind: Maker, *tags: str) -> Kind:
    return Kind(("arithmetic", *tags), kind)


KINDS: dict[str, Kind] = {
    "add-1-digit": _sum(partial(arithmetic.addition, digits=1), "add", "easy"),
    "subtract-1-digit": _sum(partial(arithmetic.subtraction, digits=1), "subtract", "easy"),
    "multiply-1-digit": _sum(partial(arithmetic.multiplication, digits=1), "multiply", "easy"),
    "add-2-digits": _sum(partial(arithmetic.addition, digits=2), "add", "medium"),
    "subtract-2-digits": _sum(partial(arithmetic.subtraction, digits=2), "subtract", "medium"),
    "multiply-2-digits": _sum(partial(arithmetic.multiplication, digits=2), "multiply", "medium"),
    "divide": _sum(arithmetic.division, "medium"),
    "add-3-digits": _sum(partial(arithmetic.addition, digits=3), "add", "hard"),
    "subtract-3-digits": _sum(partial(arithmetic.subtraction, digits=3), "subtract", "hard"),
    "multiply-3-digits": _sum(partial(arithmetic.multiplication, digits=3), "multiply", "hard"),
    "sum-and-product": _sum(arithmetic.sum_and_product, "hard"),
    "percentage": _sum(arithmetic.percentage, "hard"),
    "sum-of-fractions": _sum(arithmetic.sum_of_fractions, "hard"),
    "story": _sum(arithmetic.story, "words"),
    "even-numbers": _sum(arithmetic.even_numbers, "set"),
    "divisors": _sum(arithmetic.divisors, "set", "hard"),
    "expression": Kind(("programs",), programs.expression),
    "function-of-text": Kind(("programs",), programs.text_function),
    "function-of-list": Kind(("programs",), programs.list_function),
    "function-of-two": Kind(("programs",), programs.two_numbers),
    "count-widgets": Kind(("screens", "counting"), ask=screens.count_widgets),
    "count-checked": Kind(("screens", "counting"), ask=screens.count_checked),
    "which-checked": Kind(("screens", "reading", "set"), ask=screens.which_checked),
    "read-field": Kind(("screens", "reading"), ask=screens.read_field),
    "read-order": Kind(("screens", "reading"), ask=screens.read_order),
    "read-price": Kind(("screens", "reading"), ask=screens.read_price),
    "compare-prices": Kind(("screens", "comparing"), ask=screens.compare_prices),
    "compare-people": Kind(("screens", "comparing"), ask=screens.compare_people),
}
#: Named sets: the kinds that have the tag.
SETS = tuple(dict.fromkeys(tag for kind in KINDS.values() for tag in kind.tags))


def named_set(name: str) -> list[str]:
    """The kinds with this tag. Raises ValueError that names the nearest one."""
    if name not in SETS:
        raise ValueError(f"reasoning has no named set {name!r}; {_hint(name, SETS)}")
    return [kind for kind, (tags, *_) in KINDS.items() if name in tags]


def tasks(kinds: Iterable[str] | None = None) -> list[Task]:
    """One task for each kind (all without `kinds`); `reset` fills in the question. Raises ValueError for unknown kinds."""
    found = []
    for kind in KINDS if kinds is None else kinds:
        name = kind.removeprefix(PREFIX)
        if name not in KINDS:
            raise ValueError(f"reasoning has no task {kind!r}; {_hint(name, KINDS)}")
        found.append(Task(PREFIX + name, "", "reasoning", setup={"kind": name}, max_steps=1, tags=KINDS[name].tags))
    return found


def kind_of(task: Task) -> str:
    """The kind that a task names. Raises ValueError for one that there is not."""
    kind = str(task.setup.get("kind") or task.id.removeprefix(PREFIX))
    if kind not in KINDS:
        raise ValueError(f"reasoning has no task {kind!r}; {_hint(kind, KINDS)}")
    return kind


def maker_of(kind: str, width: int, height: int) -> Maker:
    """What makes the questions of a kind; their screens, where they have one, are of this size in pixels."""
    _, make, ask = KINDS[kind]
    if make is not None:
        return make
    assert ask is not None
    return screens.maker(ask, width, height)


def _hint(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
