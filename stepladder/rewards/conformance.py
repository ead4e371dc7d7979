"""Whether a reward keeps the contract of `stepladder.interfaces.Reward`, law 4 above all; for tests of one's own reward.

check_reward(FewSteps())
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from stepladder.codec import to_json
from stepladder.errors import NotConforming
from stepladder.interfaces import Reward
from stepladder.types import Action, Completion, Element, ImageRef, Observation, Status, Step, Task, Trajectory

_TASK = Task("conformance", "Press the button “Okay”.", "forms", max_steps=4)


def _screen(number: int, text: str = "") -> Observation:
    tree = (Element("document", box=(0, 0, 160, 210)), Element("button", "Okay", box=(10, 10, 40, 20), parent=0))
    return Observation(ImageRef(f"{number:064x}", 160, 210), tree[: 1 + number % 2], text, "", f"state {number}")


def _reply(length: int | None) -> Completion:
    return Completion("reply", None if length is None else np.zeros(length, dtype=np.int32))


def _member(index: int, steps: Sequence[Step], status: Status, reward: float | None) -> Trajectory:
    final = None if reward is None else _screen(9)
    return Trajectory(f"conformance-{index}", _TASK, tuple(steps), final, status, reward, group="conformance", index=index)


_CLICK = Step(_screen(1), Action("click", 20, 20), completion=_reply(40))
_REFUSED = Step(_screen(2, "(999, 999) is not on the screen"), Action("click", 999, 999), completion=_reply(None))
_ERROR = Step(_screen(2), completion=_reply(4000), error="no action")
_DONE = Step(_screen(3), Action("done", text="42"))
#: A group as rollouts give it: what ended well, badly and early, and episodes whose environment failed.
GROUP = (
    _member(0, [_CLICK, _DONE], "done", 1.0),
    _member(1, [_CLICK, _REFUSED, _CLICK, Step(_screen(2), Action("wait", seconds=1))], "max_steps", 0.0),
    _member(2, [_ERROR, _ERROR, _ERROR], "parse_error", 0.0),
    _member(3, [], "context_full", 0.25),
    _member(4, [_CLICK], "env_error", None),
    _member(5, [], "timeout", None),
    _member(6, [_CLICK], "timeout", 0.0),  # whatever was written there: the status counts
)


def check_reward(reward: Reward, group: Sequence[Trajectory] = GROUP, *, deterministic: bool = True) -> tuple[str, ...]:
    """The names of the terms. Raises NotConforming for the first part of the contract that `reward` breaks.

    With `deterministic` False (a model that judges) the same group may be given other terms the next time.
    """
    before = to_json(list(group))
    found = _terms(reward, group, "the group")
    if to_json(list(group)) != before:
        raise NotConforming("the reward changed the trajectories; it may only read them")
    names: tuple[str, ...] | None = None
    for trajectory, terms in zip(group, found, strict=True):
        where = f"trajectory {trajectory.id!r} ({trajectory.status})"
        if trajectory.environment_failed or trajectory.reward is None:
            if terms:
                raise NotConforming(f"law 4: {where} has no grade, its environment failed; it must have no terms, not {terms}")
            continue
        _check_values(terms, where)
        if names is not None and set(terms) != set(names):
            raise NotConforming(f"{where} has the terms {sorted(terms)}, another one {sorted(names)}; they must be the same")
        names = tuple(terms) if names is None else names
    if names is None:
        raise NotConforming("no trajectory of the group has a grade; there is nothing to check")
    main = getattr(reward, "main", names[0])
    if main not in names:
        raise NotConforming(f"`main` is {main!r}, which is none of the terms {', '.join(names)}")
    if deterministic and not _close(_terms(reward, group[::-1], "the group in reverse")[::-1], found):
        raise NotConforming("terms depend on the order of the group, or differ from call to call")
    if _terms(reward, (), "an empty group"):
        raise NotConforming("an empty group must give an empty list")
    return names


def _terms(reward: Reward, group: Sequence[Trajectory], what: str) -> list[dict[str, float]]:
    given: Any = reward(list(group))
    if not isinstance(given, list) or len(given) != len(group) or not all(isinstance(terms, dict) for terms in given):
        raise NotConforming(f"{what} of {len(group)} must give a list of {len(group)} dicts, not {given!r}")
    return copy.deepcopy(given)


def _check_values(terms: dict[str, float], where: str) -> None:
    if not terms:
        raise NotConforming(f"{where} has a grade; it must have terms")
    for name, value in terms.items():
        if not isinstance(name, str) or not name:
            raise NotConforming(f"{where}: the name of a term must be a text that is not empty, not {name!r}")
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise NotConforming(f"{where}: term {name!r} must be a finite number, not {value!r}")


def _close(first: list[dict[str, float]], second: list[dict[str, float]]) -> bool:
    """Equal but for rounding: a sum over the group may be taken in another order."""
    return all(
        one.keys() == two.keys() and all(math.isclose(one[name], two[name], rel_tol=1e-6, abs_tol=1e-9) for name in one)
        for one, two in zip(first, second, strict=True)
    )
